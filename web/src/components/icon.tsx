/** Our own signs, drawn on a grid of 16 with a line of 1.5. */
const PATHS = {
  home: "M2.5 7 8 2.5 13.5 7v6.5h-4v-4h-3v4h-4z",
  ask: "M2.5 3.5h11v8H8L5 14v-2.5H2.5z M5.5 7.5h5",
  runs: "M2.5 4h1 M6 4h7.5 M2.5 8h1 M6 8h7.5 M2.5 12h1 M6 12h7.5",
  settings:
    "M2 4.5h7 M12 4.5h2 M2 11.5h2 M7 11.5h7 M9 4.5a1.5 1.5 0 1 0 3 0 1.5 1.5 0 1 0-3 0 M4 11.5a1.5 1.5 0 1 0 3 0 1.5 1.5 0 1 0-3 0",
  admin:
    "M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z M1.5 13.5c0-2.5 2-4 4.5-4s4.5 1.5 4.5 4 M11 3a2.5 2.5 0 0 1 0 4.5 M12 9.8c1.6.5 2.5 1.9 2.5 3.7",
  out: "M9.5 2.5h-7v11h7 M6.5 8h7 M11 5.5 13.5 8 11 10.5",
  good: "M8 14.25a6.25 6.25 0 1 0 0-12.5 6.25 6.25 0 0 0 0 12.5z M5.25 8.25l2 2 3.5-4",
  wary: "M8 2 14.5 13.5h-13z M8 6.5v3 M8 11.5v.1",
  bad: "M8 14.25a6.25 6.25 0 1 0 0-12.5 6.25 6.25 0 0 0 0 12.5z M5.9 5.9l4.2 4.2 M10.1 5.9 5.9 10.1",
  idle: "M8 14.25a6.25 6.25 0 1 0 0-12.5 6.25 6.25 0 0 0 0 12.5z M5.25 8h5.5",
  open: "M8 14.25a6.25 6.25 0 1 0 0-12.5 6.25 6.25 0 0 0 0 12.5z",
  wait: "M8 14.25a6.25 6.25 0 1 0 0-12.5 6.25 6.25 0 0 0 0 12.5z M8 4.75V8l2.25 1.5",
  busy: "M8 1.75a6.25 6.25 0 1 1-6.25 6.25",
  stop: "M4 4h8v8H4z",
  send: "M8 13.5v-11 M3.5 7 8 2.5 12.5 7",
  again: "M13 8a5 5 0 1 1-1.5-3.5L13.5 6.5 M13.5 2.5v4h-4",
  copy: "M5.5 5.5h8v8h-8z M10.5 5.5v-3h-8v8h3",
  done: "M3 8.5 6.5 12 13 4.5",
  close: "M3.5 3.5l9 9 M12.5 3.5l-9 9",
  next: "M6 3.5 10.5 8 6 12.5",
  back: "M10 3.5 5.5 8 10 12.5",
  down: "M3.5 6 8 10.5 12.5 6",
  outside: "M9.5 2.5h4v4 M13.5 2.5 7.5 8.5 M6.5 3.5h-4v10h10v-4",
  file: "M3.5 1.75h6l3 3v9.5h-9z M9.5 1.75v3h3",
  clip: "M12.5 7.5 7.75 12.25a2.65 2.65 0 0 1-3.75-3.75l5.25-5.25a1.75 1.75 0 0 1 2.5 2.5L6.5 11",
  save: "M8 2.5v8 M4.5 7 8 10.5 11.5 7 M2.5 13.5h11",
  tool: "M2.5 3.5h11v9h-11z M5 6.5 7 8 5 9.5 M8.5 10h2.5",
  thought:
    "M8 2.5c3.5 0 6 2 6 4.5s-2.5 4.5-6 4.5c-.6 0-1.2-.1-1.7-.2L3.5 13l.4-2.7C2.7 9.5 2 8.3 2 7c0-2.5 2.5-4.5 6-4.5z",
  note: "M3 3.5h10 M3 8h10 M3 12.5h6",
  key: "M5.5 13a3 3 0 1 0 0-6 3 3 0 0 0 0 6z M7.7 7.8 13 2.5 M11 4.5l2 2",
  desktop: "M1.75 2.75h12.5v8.5H1.75z M5.5 13.75h5 M8 11.25v2.5",
  clipboard: "M5.5 3h-2.5v11h10V3h-2.5 M5.5 1.75h5v2.75h-5z",
  keyboard: "M1.75 4h12.5v8H1.75z M4.25 6.75v.1 M6.75 6.75v.1 M9.25 6.75v.1 M11.75 6.75v.1 M5 9.5h6",
  keys: "M3 3h10v10H3z M5.75 10.25 8 5.5l2.25 4.75 M6.5 8.75h3",
  full: "M2.5 6V2.5H6 M10 2.5h3.5V6 M13.5 10v3.5H10 M6 13.5H2.5V10",
  plus: "M8 3v10 M3 8h10",
  net: "M8 14.25a6.25 6.25 0 1 0 0-12.5 6.25 6.25 0 0 0 0 12.5z M1.75 8h12.5 M8 1.75c2 1.75 2.75 4 2.75 6.25S10 12.5 8 14.25c-2-1.75-2.75-4-2.75-6.25S6 3.5 8 1.75z",
  code: "M5.5 4 2 8l3.5 4 M10.5 4 14 8l-3.5 4",
  light:
    "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6z M8 1v1.5 M8 13.5V15 M1 8h1.5 M13.5 8H15 M3 3l1 1 M12 12l1 1 M13 3l-1 1 M4 12l-1 1",
  dark: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7z",
  lost: "M2 2l12 12 M8 13v.1 M5 10.2a4.3 4.3 0 0 1 4-.9 M2.5 7.2A8 8 0 0 1 6 5.3 M8.8 5.1a8 8 0 0 1 4.7 2.1",
} as const;

export type IconName = keyof typeof PATHS;

/** A sign beside words; it says nothing by itself. */
export function Icon({ name, className = "" }: { name: IconName; className?: string }) {
  return (
    <svg
      className={`shrink-0 ${className.includes("size-") ? "" : "size-4"} ${className}`}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
