/** A message of a stream of server-sent events. */
export type Message = { id: string | null; event: string; data: string };

/** Reads the text of such a stream, however it is cut into pieces. Comments are told as messages without data. */
export class SseParser {
  #rest = "";
  #id: string | null = null;
  #event = "";
  #data: string[] = [];

  /** The messages that are complete with this piece. */
  push(piece: string): Message[] {
    const text = this.#rest + piece;
    const messages: Message[] = [];
    let from = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", from)) {
      const line = text.slice(from, text[end - 1] === "\r" && end > from ? end - 1 : end);
      from = end + 1;
      const message = this.#line(line);
      if (message) messages.push(message);
    }
    this.#rest = text.slice(from);
    return messages;
  }

  #line(line: string): Message | null {
    if (line === "") {
      const message = this.#data.length > 0 ? this.#take() : null;
      this.#event = "";
      this.#data = [];
      return message;
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id") this.#id = value;
    return null;
  }

  #take(): Message {
    return { id: this.#id, event: this.#event || "message", data: this.#data.join("\n") };
  }
}
