# Has programs prepare, in the folder that the image is made from, what they would prepare in every sandbox anew.
#
#   sh -eus -- ROOT USER HOME < warm.sh      in mount, network and process namespaces of its own
#
# What is kept is the same for everyone: the caches of the fonts, and of Firefox its caches of its own code and the
# settings that it makes for every new profile. No key, no identity, no history.
root=$1 user=$2 home=$3

mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm" "$root/tmp/.X11-unix"

chroot "$root" fc-cache --system-only

cat >"$root/tmp/inside" <<'INSIDE'
set -eu
export XDG_RUNTIME_DIR=/tmp/runtime
mkdir -m 700 "$XDG_RUNTIME_DIR"
mkfifo /tmp/number
Xtigervnc -displayfd 9 -geometry 1920x1080 -depth 24 -SecurityTypes None -rfbunixpath /tmp/rfb -rfbport -1 \
    -extension GLX -nolisten tcp -auth /dev/null 9>/tmp/number 2>/tmp/screen.log &
screen=$!
read -r number </tmp/number
export DISPLAY=":$number"

# The profile of this name is the one that Firefox takes; the number stands for the folder that Firefox lies in.
firefox=$HOME/.mozilla/firefox
mkdir "$firefox/polydev"
cat >"$firefox/profiles.ini" <<'END'
[Profile0]
Name=polydev
IsRelative=1
Path=polydev
Default=1

[General]
StartWithLastProfile=1
Version=2

[Install3B6073811A6ABF12]
Default=polydev
Locked=1
END
cat >"$firefox/installs.ini" <<'END'
[3B6073811A6ABF12]
Default=polydev
Locked=1
END
echo '{"chrome://browser/content/browser.xhtml":{"main-window":{"sizemode":"maximized"}}}' >"$firefox/polydev/xulstore.json"

firefox-esr 2>/tmp/firefox.log &
running=$!
profile=$firefox/polydev
cache=$HOME/.cache/mozilla/firefox/polydev/startupCache
# It writes them in this order, some seconds after it is up, and each under another name at first.
until [ -s "$profile/prefs.js" ] && [ -s "$profile/addonStartup.json.lz4" ] && [ -s "$cache/startupCache.8.little" ] &&
    [ -s "$cache/scriptCache.bin" ] && [ -s "$cache/scriptCache-child.bin" ]; do
    if ! kill -0 $running; then
        cat /tmp/firefox.log >&2
        exit 1
    fi
    sleep 0.2
done
kill $running $screen
wait

mkdir /tmp/kept
cd "$profile"
mv addonStartup.json.lz4 compatibility.ini extensions.json handlers.json search.json.mozlz4 xulstore.json /tmp/kept
grep -v -E 'impressionId|lastUpdateTime|cachedClientID|cachedProfileGroupID|profileId|storeID|webextensions\.uuids|profileCreationTime|lastColdStartupCheck|lastSubmission' \
    prefs.js >/tmp/kept/prefs.js
mv "$cache" /tmp/kept-cache
mv "$HOME/.cache/fontconfig" /tmp/kept-fonts
cp "$firefox/profiles.ini" "$firefox/installs.ini" /tmp/
rm -r "$HOME/.mozilla" "$HOME/.cache"
mkdir -p "$firefox" "$HOME/.cache/mozilla/firefox/polydev"
mv /tmp/kept "$profile"
mv /tmp/kept-cache "$cache"
mv /tmp/kept-fonts "$HOME/.cache/fontconfig"
mv /tmp/profiles.ini /tmp/installs.ini "$firefox"
rmdir "$HOME/Downloads" "$HOME/Desktop" 2>/dev/null || true
INSIDE
chroot --userspec="$user:$user" "$root" env -i HOME="$home" USER="$user" PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
    MOZ_CRASHREPORTER_DISABLE=1 NO_AT_BRIDGE=1 GTK_A11Y=none \
    sh /tmp/inside </dev/null
