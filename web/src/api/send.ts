import { useMutation } from "@tanstack/react-query";
import { base64 } from "../lib/base64";
import type { Ask } from "../lib/snippet";
import { api, type Run, take } from "./client";
import { asProblem } from "./problem";

/** A request as it is made here: with files at hand, and a key under which it is done once. */
export type Sent = Omit<Ask, "files"> & { files: File[]; key: string };

/** A key of a request. `randomUUID` is not there on a page without TLS. */
export function freshKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Asks a provider. Where no answer comes it is asked again with the same key: it is done once. */
export function useSend(onRun: (run: Run, sent: Sent) => void) {
  return useMutation({
    mutationFn: async ({ files, key, ...body }: Sent) => {
      const contents = await Promise.all(
        files.map(async (file) => ({ path: file.name, content_base64: await base64(file) })),
      );
      const run = await take(
        api.POST("/api/v1/runs", {
          params: { header: { "Idempotency-Key": key } },
          body: { ...body, ...(contents.length > 0 && { files: contents }) },
        }),
      );
      // Events come where they are asked for.
      return run as Run;
    },
    retry: (failures, thrown) => failures < 4 && asProblem(thrown).status === 0,
    retryDelay: (failures) => 500 * 2 ** failures,
    onSuccess: (run, sent) => onRun(run, sent),
  });
}
