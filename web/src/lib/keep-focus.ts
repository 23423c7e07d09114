/** What the focus can go to, as a screen reader has a name for it. */
const PLACES =
  "section[aria-labelledby], section[aria-label], article, ul[aria-label], form, table, dialog, [role=tabpanel]";

/**
 * Keeps the focus where it was, as far as that is still there: what is pressed may go with what it did, and the browser
 * would begin again at the top of the page. It goes to the part of the page that the lost element was in, or to the
 * page's title.
 */
export function keepFocus(app: HTMLElement): void {
  let around: Element[] = [];
  app.addEventListener("focusin", ({ target }) => {
    around = [];
    for (let at = target as Element | null; at && at !== app; at = at.parentElement) around.push(at);
  });
  const look = () => {
    const focused = document.activeElement;
    if ((focused && focused !== document.body) || around[0]?.isConnected !== false) return;
    const left = around.find((element) => element.isConnected);
    around = [];
    const place = left?.closest(PLACES) ?? document.querySelector("main h1");
    if (!(place instanceof HTMLElement)) return;
    if (!place.hasAttribute("tabindex")) place.tabIndex = -1;
    place.focus({ preventScroll: true });
  };
  new MutationObserver(look).observe(app, { childList: true, subtree: true });
}
