import { reach } from "./live";
import { backoff, pause } from "./stream";

/**
 * A part of the app that is fetched once it is needed. Where the server does not answer it is waited for: what comes of
 * an import that failed is a page that must be loaded anew. Fails where the server is there and the part is not, as
 * after an upgrade.
 */
export async function part<T>(load: () => Promise<T>): Promise<T> {
  if (reach.get() === "lost") await answering();
  try {
    return await load();
  } catch {
    await answering();
    return load();
  }
}

/** Waits until the server answers. */
async function answering(): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await fetch("/healthz", { cache: "no-store" }).catch(() => null);
    if (answer?.ok) return;
    await pause(backoff(attempt));
  }
}
