//! What the `desktop` image has beside all that `cli` has: `images/desktop`.

/// What comes on top of another recipe.
#[derive(Debug)]
pub(super) struct Addition {
    /// `recipe.toml`; the file itself explains each field.
    pub(super) recipe: &'static str,
    /// Files by their path in the image. Those in `usr/local/bin` are programs.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// The shell script that has programs prepare their caches.
    pub(super) warm: &'static str,
}

impl Addition {
    /// All of it, for the content id.
    pub(super) fn parts(&self) -> impl Iterator<Item = &'static str> {
        [self.recipe, self.warm].into_iter().chain(self.files.iter().flat_map(|(path, text)| [*path, *text]))
    }
}

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../images/desktop/files/", $path)))),*]
    };
}

/// `images/desktop`.
pub(super) const ADDITION: Addition = Addition {
    recipe: include_str!("../../../../images/desktop/recipe.toml"),
    warm: include_str!("../../../../images/desktop/warm.sh"),
    files: files![
        "etc/firefox-esr/polydev.js",
        "etc/gtk-3.0/settings.ini",
        "etc/xdg/mimeapps.list",
        "etc/xdg/xfce4/xfconf/xfce-perchannel-xml/xfce4-desktop.xml",
        "etc/xdg/xfce4/xfconf/xfce-perchannel-xml/xfce4-keyboard-shortcuts.xml",
        "etc/xdg/xfce4/xfconf/xfce-perchannel-xml/xfce4-panel.xml",
        "etc/xdg/xfce4/xfconf/xfce-perchannel-xml/xfce4-terminal.xml",
        "etc/xdg/xfce4/xfconf/xfce-perchannel-xml/xfwm4.xml",
        "usr/lib/firefox-esr/distribution/policies.json",
        "usr/local/bin/polydev-browser",
        "usr/share/applications/polydev-browser.desktop",
    ],
};
