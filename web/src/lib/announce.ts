import { Store } from "./store";

/** What a screen reader is to say next, when it has said what it says. */
export const said = new Store("");

let again = false;

/** Has something said, politely. The same words twice are said twice. */
export function announce(text: string): void {
  again = !again;
  said.set(again ? text : `${text}\u00a0`);
}
