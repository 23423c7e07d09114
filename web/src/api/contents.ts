import { base64 } from "../lib/base64";
import { Problem } from "./problem";

/** What is in a file, as base64; a folder, or a file that has changed since it was chosen, cannot be read. */
export async function contents(file: File): Promise<string> {
  try {
    return await base64(file);
  } catch {
    throw new Problem(0, "invalid_request", `\`${file.name}\` cannot be read`, {
      hint: "It may be a folder, or have been changed since. Choose it again, or leave it out.",
    });
  }
}
