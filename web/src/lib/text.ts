/** A message of the API as a sentence: they begin small and end without a full stop. */
export function sentence(message: string): string {
  const text = message.trim();
  if (text === "") return "";
  const begun = text.startsWith("`") ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…:]$/.test(begun) ? begun : `${begun}.`;
}

/** A text in which `code` stands between backticks, in its parts. */
export function codeParts(text: string): { code: boolean; text: string }[] {
  return text
    .split("`")
    .map((part, at, all) => ({ code: at % 2 === 1 && at < all.length - 1, text: part }))
    .filter((part) => part.text !== "");
}

/** A number of bytes, for people. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count;
  let unit = "B";
  for (const next of units) {
    if (value < 1000) break;
    value /= 1000;
    unit = next;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

/** A whole number, its thousands apart by a thin space. */
export const count = (value: number): string => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");

/** An amount of US dollars. What is less than a cent keeps two digits that say something. */
export function dollars(value: number): string {
  if (value === 0) return "$0";
  return value >= 0.1
    ? `$${value.toFixed(2)}`
    : `$${Number(value.toPrecision(2)).toFixed(Math.min(8, 1 - Math.floor(Math.log10(value))))}`;
}

/** The first line of a text, for a list. */
export function firstLine(text: string, most = 160): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.length > most ? `${line.slice(0, most).trimEnd()}…` : line;
}
