const BROWSERS: [RegExp, string][] = [
  [/\bEdg\//, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\bFirefox\//, "Firefox"],
  [/\bHeadlessChrome\//, "Headless Chrome"],
  [/\bChrome\//, "Chrome"],
  [/\bSafari\//, "Safari"],
];
const SYSTEMS: [RegExp, string][] = [
  [/\bAndroid\b/, "Android"],
  [/\b(iPhone|iPad)\b/, "iOS"],
  [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b/, "macOS"],
  [/\bLinux\b/, "Linux"],
];

/** What a program calls itself, as its person would: `Firefox on Linux`. */
export function browserName(agent: string | null | undefined): string {
  if (!agent) return "An unknown program";
  const of = (names: [RegExp, string][]) => names.find(([pattern]) => pattern.test(agent))?.[1];
  const browser = of(BROWSERS);
  if (!browser) return agent.length > 60 ? `${agent.slice(0, 60)}…` : agent;
  const system = of(SYSTEMS);
  return system ? `${browser} on ${system}` : browser;
}
