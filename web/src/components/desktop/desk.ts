import RFB from "@novnc/novnc";
import { foundOrLater } from "../../api/follow";
import { backoff } from "../../api/stream";
import { announce } from "../../lib/announce";
import { KEYS, type Key, keyOf } from "../../lib/keys";
import { Store } from "../../lib/store";
import { catchKeys } from "./catch-keys";
import { measure, type Trip } from "./trip";

/** How the page stands with the desktop. */
export type Link = "connecting" | "there" | "lost" | "taken" | "over";

/** How the desktop is shown: as large as fits, pixel by pixel, or made as large as the place that it has. */
export type View = "resize" | "fit" | "exact";

/** In a place that is narrower than this, nothing would have room in a desktop of its size, CSS px. */
const NARROW = 450;
/** There the desktop is made so many times as large, and shown as much smaller. */
const NARROW_TIMES = 2;
/** How long the desktop may take for that, ms. */
const GROWN_WITHIN = 2000;

/** The most that is taken of what somebody copied in the desktop, characters: the guest says how much it is. */
const HEARD_MAX = 1024 * 1024;

// Why the server closes (`desktop.rs`).
const TAKEN_OVER = 4001;
const LOGIN_OVER = 4002;

/** What a screen reader is told of it: its name, and the id of what says more; and where the keys go that leave it. */
type About = { label: string; hint: string; onLeave: () => void };

/** The desktop of a login, shown in a place of the page, for as long as it is open. */
export class Desk {
  readonly link = new Store<Link>("connecting");
  /** How long the server takes to answer. */
  readonly trip = new Store<Trip>(null);
  /** What was copied in the desktop, and whether it is in the browser's own clipboard. */
  readonly heard = new Store<{ text: string; kept: boolean } | null>(null);

  readonly #place: HTMLElement;
  /** What is around the place, and says how large it may be. */
  readonly #room: HTMLElement;
  readonly #about: About;
  readonly #url: string;
  readonly #stop = new AbortController();
  readonly #watched: ResizeObserver;
  #rfb: RFB | null = null;
  #view: View = "resize";
  /** For which width the desktop is made larger than its place, and what ends that. */
  #growth: { width: number; end: AbortController } | null = null;
  /** Ends the connection of now, as if it were lost. */
  #drop: () => void = () => {};
  /** When something came of the screen, ms. */
  #last = 0;

  constructor(place: HTMLElement, login: string, about: About) {
    this.#place = place;
    this.#about = about;
    // The page's own origin, which its policy lets it speak with.
    this.#url = `${location.origin.replace(/^http/, "ws")}/api/v1/logins/${encodeURIComponent(login)}/desktop?take=true`;
    catchKeys(place, {
      leave: () => {
        this.#release();
        about.onLeave();
      },
      paste: (text, chord) => this.#pasteBy(text, chord),
      signal: this.#stop.signal,
    });
    this.#room = place.parentElement ?? place;
    this.#watched = new ResizeObserver(() => this.#fit());
    this.#watched.observe(this.#room);
    void this.#keep();
    void measure(this.trip, () => this.#silent(), this.#stop.signal);
    const quality = this.trip.follow(() => this.#spare());
    this.#stop.signal.addEventListener("abort", quality);
  }

  close(): void {
    this.#stop.abort();
    this.#watched.disconnect();
    this.#drop();
  }

  /** Takes the desktop back from who took it. */
  again(): void {
    this.link.set("connecting");
    void this.#keep();
  }

  get view(): View {
    return this.#view;
  }

  set view(view: View) {
    this.#view = view;
    this.#fit();
  }

  /** Gives it the keys. */
  focus(): void {
    this.#rfb?.focus({ preventScroll: true });
  }

  /** Presses or lets go of a key. */
  hold({ keysym, code }: Key, down: boolean): void {
    this.#rfb?.sendKey(keysym, code, down);
  }

  /** Presses keys together, and lets them go. */
  press(...keys: Key[]): void {
    for (const key of keys) this.hold(key, true);
    for (const key of keys.toReversed()) this.hold(key, false);
  }

  /** Types a text, whatever layout it is of. */
  type(text: string): void {
    for (const character of text) this.press(keyOf(character));
  }

  /** Puts a text in the desktop's clipboard. */
  give(text: string): void {
    this.#rfb?.clipboardPasteFrom(text);
  }

  /** Pastes a text where the desktop's own focus is: this chord pastes in terminals and in browsers. */
  paste(text: string): void {
    this.give(text);
    this.press(KEYS.Shift, KEYS.Insert);
  }

  /** What was pasted by a chord goes on as that chord, whose other keys are down already; a Mac's is none of X's. */
  #pasteBy(text: string, chord: { key: string; code: string; meta: boolean }): void {
    if (text !== "") this.give(text);
    if (chord.meta) {
      this.#release();
      this.press(KEYS.Shift, KEYS.Insert);
    } else {
      const keysym = chord.key === "Insert" ? KEYS.Insert.keysym : keyOf(chord.key).keysym;
      this.press({ keysym, code: chord.code });
    }
  }

  /** Lets go of the keys that are held while others are pressed. */
  #release(): void {
    for (const side of ["Left", "Right"]) {
      const right = side === "Right" ? 1 : 0;
      for (const { keysym, code } of [KEYS.Control, KEYS.Alt, KEYS.Shift, KEYS.Super]) {
        this.hold({ keysym: keysym + right, code: code?.replace("Left", side) ?? null }, false);
      }
    }
  }

  /** Connects, and connects again, until the login is over or somebody else takes it. */
  async #keep(): Promise<void> {
    const { signal } = this.#stop;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      const code = await this.#once(() => {
        attempt = 0;
      });
      if (signal.aborted) return;
      if (code === TAKEN_OVER) return this.link.set("taken");
      if (code === LOGIN_OVER) return this.link.set("over");
      if (this.link.get() === "there") announce("The connection to the desktop is lost");
      this.link.set("lost");
      await foundOrLater(backoff(attempt), signal);
    }
  }

  /** One connection, to its end: the code with which it was closed. */
  #once(opened: () => void): Promise<number> {
    return new Promise((resolve) => {
      const socket = new WebSocket(this.#url, ["binary"]);
      // Before noVNC's own, which does not tell with which code it was closed.
      socket.addEventListener("close", ({ code }) => end(code));
      const rfb = new RFB(this.#place, socket);
      let over = false;
      let gone = false;
      const end = (code: number) => {
        if (over) return;
        over = true;
        this.#drop = () => {};
        this.#rfb = null;
        if (!gone) rfb.disconnect();
        resolve(code);
      };
      this.#drop = () => end(0);
      socket.addEventListener("message", () => {
        this.#last = performance.now();
      });
      rfb.addEventListener("disconnect", () => {
        gone = true;
        end(0);
      });
      rfb.addEventListener("clipboard", (event) => {
        const { text } = (event as CustomEvent<{ text: string }>).detail;
        void this.#hear(text.slice(0, HEARD_MAX));
      });
      rfb.addEventListener("connect", () => {
        this.#rfb = rfb;
        this.#endGrowth();
        opened();
        this.#fit();
        this.#spare();
        if (this.link.get() === "lost") announce("The desktop is back");
        this.link.set("there");
      });
      dress(this.#place.querySelector("canvas"), this.#about);
    });
  }

  /** Shows it as is wished, where that is possible. */
  #fit(): void {
    const rfb = this.#rfb;
    if (!rfb) return;
    const exact = this.#view === "exact";
    // A finger has no scroll bar: it moves what is seen.
    const drags = exact && matchMedia("(pointer: coarse)").matches;
    rfb.scaleViewport = !exact;
    rfb.clipViewport = drags;
    rfb.dragViewport = drags;
    const width = this.#room.clientWidth;
    const narrow = width < NARROW;
    if (this.#view === "resize" && narrow) {
      if (this.#growth?.width !== width) void this.#grow(rfb, width);
      return;
    }
    this.#endGrowth();
    rfb.resizeSession = this.#view === "resize";
  }

  /** Has the desktop made larger than its place, and again whenever it gets another size: an answer to what was asked
   * before may come late. noVNC asks for the size of what it is in, so that is so large meanwhile. */
  async #grow(rfb: RFB, width: number): Promise<void> {
    this.#endGrowth();
    const canvas = this.#place.querySelector("canvas");
    if (!canvas) return;
    const end = new AbortController();
    this.#growth = { width, end };
    const ended = AbortSignal.any([this.#stop.signal, end.signal]);
    const { style } = this.#place;
    while (!ended.aborted) {
      style.width = style.height = `${100 * NARROW_TIMES}%`;
      rfb.resizeSession = true;
      const grown = () => Math.abs(canvas.width - width * NARROW_TIMES) <= 1;
      const enough = AbortSignal.any([ended, AbortSignal.timeout(GROWN_WITHIN)]);
      while (!grown() && !enough.aborted) await resized(canvas, enough);
      if (ended.aborted) return;
      style.width = style.height = "";
      rfb.resizeSession = false;
      await resized(canvas, ended);
    }
  }

  #endGrowth(): void {
    if (!this.#growth) return;
    this.#growth.end.abort();
    this.#growth = null;
    this.#place.style.width = this.#place.style.height = "";
  }

  /** Takes coarser pictures where the way is slow. */
  #spare(): void {
    if (!this.#rfb) return;
    const slow = (this.trip.get() ?? 0) > 250;
    this.#rfb.qualityLevel = slow ? 3 : 6;
    this.#rfb.compressionLevel = slow ? 6 : 2;
  }

  /** The server does not answer. Where nothing comes of the screen either, the line is dead though nobody has said so. */
  #silent(): void {
    if (this.link.get() === "there" && performance.now() - this.#last > 2000) this.#drop();
  }

  /** What was copied in the desktop is put in the browser's clipboard if its person did something just now: the guest
   * is not to write there whenever it likes. */
  async #hear(text: string): Promise<void> {
    if (text === "") return;
    const active = navigator.userActivation?.isActive ?? true;
    const here = this.#place.contains(document.activeElement);
    let kept = false;
    if (active && here) {
      try {
        await navigator.clipboard.writeText(text);
        kept = true;
      } catch {
        // There is none, or it may not: the panel has the text.
      }
    }
    this.heard.set({ text, kept });
    if (!kept) announce("Something was copied in the desktop: it is in the clipboard panel");
  }
}

/** Waits until a canvas is given a width, or it is given up. */
function resized(canvas: HTMLCanvasElement, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      watched.disconnect();
      resolve();
    };
    const watched = new MutationObserver(done);
    watched.observe(canvas, { attributeFilter: ["width"] });
    if (signal.aborted) done();
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Tells what the picture is, and lets the keyboard reach it. */
function dress(canvas: HTMLCanvasElement | null, { label, hint }: About): void {
  if (!canvas) return;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", label);
  canvas.setAttribute("aria-describedby", hint);
}
