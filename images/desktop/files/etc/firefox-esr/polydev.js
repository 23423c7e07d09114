// What Firefox's policies (../../usr/lib/firefox-esr/distribution/policies.json) have no word for.

// Drawing: there is no graphics card, and one person looks at one or two pages.
pref("dom.ipc.processCount", 2);
pref("dom.ipc.processCount.webIsolated", 1);
pref("dom.ipc.processPrelaunch.enabled", false);
pref("fission.autostart", false);
pref("gfx.webrender.software", true);
pref("gfx.x11-egl.force-disabled", true);
pref("layers.acceleration.disabled", true);
pref("media.hardware-video-decoding.enabled", false);
pref("media.rdd-process.enabled", false);
pref("media.utility-process.enabled", false);
pref("network.process.enabled", false);
pref("toolkit.cosmeticAnimations.enabled", false);
pref("ui.prefersReducedMotion", 1);

// Its own traffic: what nobody asked for would stand in the log of the way out.
pref("app.normandy.enabled", false);
pref("app.update.auto", false);
pref("browser.aboutConfig.showWarning", false);
pref("browser.discovery.enabled", false);
pref("browser.ml.enable", false);
pref("browser.newtabpage.activity-stream.feeds.system.topstories", false);
pref("browser.newtabpage.activity-stream.feeds.telemetry", false);
pref("browser.newtabpage.activity-stream.telemetry", false);
pref("browser.region.network.url", "");
pref("browser.region.update.enabled", false);
pref("browser.safebrowsing.blockedURIs.enabled", false);
pref("browser.safebrowsing.downloads.enabled", false);
pref("browser.safebrowsing.malware.enabled", false);
pref("browser.safebrowsing.phishing.enabled", false);
pref("browser.safebrowsing.provider.mozilla.updateURL", "");
pref("browser.search.serpEventTelemetryCategorization.enabled", false);
pref("browser.search.update", false);
pref("browser.topsites.contile.enabled", false);
pref("datareporting.policy.dataSubmissionEnabled", false);
pref("dom.push.connection.enabled", false);
pref("extensions.blocklist.enabled", false);
pref("extensions.getAddons.cache.enabled", false);
pref("extensions.systemAddon.update.enabled", false);
pref("geo.enabled", false);
pref("media.gmp-manager.updateEnabled", false);
pref("media.gmp-provider.enabled", false);
pref("messaging-system.rsexperimentloader.enabled", false);
pref("network.captive-portal-service.enabled", false);
pref("network.connectivity-service.enabled", false);
pref("network.dns.disablePrefetch", true);
pref("network.http.speculative-parallel-limit", 0);
pref("network.prefetch-next", false);
pref("nimbus.rollouts.enabled", false);
pref("privacy.trackingprotection.enabled", false);
pref("security.OCSP.enabled", 0);
pref("security.remote_settings.crlite_filters.enabled", false);
pref("security.remote_settings.intermediates.enabled", false);
// Firefox asks this server only when MOZ_REMOTE_SETTINGS_DEVTOOLS is set, as it is on the desktop; by this address nobody.
pref("services.settings.server", "data:,#remote-settings-dummy/v1");
pref("toolkit.coverage.endpoint.base", "");
pref("toolkit.telemetry.enabled", false);
pref("toolkit.telemetry.server", "data:,");
pref("toolkit.telemetry.unified", false);

// The sandbox goes with the login: nothing is kept, restored or asked.
pref("browser.cache.disk.enable", false);
pref("browser.cache.memory.capacity", 32768);
pref("browser.laterrun.enabled", false);
pref("browser.messaging-system.whatsNewPanel.enabled", false);
pref("browser.sessionstore.interval", 3600000);
pref("browser.sessionstore.resume_from_crash", false);
pref("browser.sessionstore.max_resumed_crashes", -1);
pref("browser.shell.checkDefaultBrowser", false);
pref("browser.startup.blankWindow", false);
pref("browser.startup.couldRestoreSession.count", 2);
pref("browser.startup.preXulSkeletonUI", false);
pref("browser.tabs.firefox-view", false);
pref("browser.tabs.warnOnClose", false);
pref("browser.uitour.enabled", false);
pref("browser.warnOnQuit", false);
pref("security.sandbox.warn_unprivileged_namespaces", false);
pref("signon.rememberSignons", false);
pref("toolkit.startup.max_resumed_crashes", -1);
pref("trailhead.firstrun.didSeeAboutWelcome", true);

// A link from the terminal opens in the window that is there.
pref("browser.link.open_newwindow.override.external", 3);
pref("browser.tabs.loadDivertedInBackground", false);
