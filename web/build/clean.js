// Empties dist/, but for the `.gitignore` that keeps it there.
import { readdirSync, rmSync } from "node:fs";

for (const name of readdirSync("dist")) {
  if (name !== ".gitignore") rmSync(`dist/${name}`, { recursive: true });
}
