import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { Ask } from "../lib/snippet";
import { api, type Run, take } from "./client";
import { contents } from "./contents";
import { Problem } from "./problem";
import { queries } from "./queries";

/** A request as it is made here: with files at hand, and a key under which it is done once. */
export type Sent = Omit<Ask, "files"> & {
  timeout_s?: number;
  metadata?: Record<string, never>;
  files: File[];
  key: string;
};

/** A key of a request. `randomUUID` is not there on a page without TLS. */
export function freshKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The request that a run was made by; its files are not given back. */
export const sentAs = ({ provider, prompt, model, metadata, given }: Run): Sent => ({
  provider,
  prompt: prompt ?? "",
  ...(model && { model }),
  ...(given?.system && { system: given.system }),
  ...(given?.tools === "none" && { tools: "none" as const }),
  ...(given && { timeout_s: given.timeout_s }),
  ...(metadata && { metadata }),
  files: [],
  key: freshKey(),
});

/** Whether two requests are one, but for their keys. */
export function sameAsk({ files: some, key: _, ...one }: Sent, { files: others, key: __, ...other }: Sent): boolean {
  const sameFiles = some.length === others.length && some.every((file, at) => file === others[at]);
  return sameFiles && JSON.stringify(one) === JSON.stringify(other);
}

/** Asks a provider. Where no answer comes it is asked again with the same key: it is done once. */
export function useSend(onRun?: (run: Run, sent: Sent) => void) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: async ({ files, key, ...body }: Sent) => {
      const encoded = await Promise.all(
        files.map(async (file) => ({ path: file.name, content_base64: await contents(file) })),
      );
      const run = await take(
        api.POST("/api/v1/runs", {
          params: { header: { "Idempotency-Key": key } },
          body: { ...body, ...(encoded.length > 0 && { files: encoded }) },
        }),
      );
      // Events come where they are asked for.
      return run as Run;
    },
    retry: (failures, thrown) => failures < 4 && thrown instanceof Problem && thrown.code === "unreachable",
    retryDelay: (failures) => 500 * 2 ** failures,
    onSuccess: (run, sent) => {
      // It is there at once, and looked up all the same: more is told of it then.
      queryClient.setQueryData(queries.run(run.id).queryKey, run, { updatedAt: 0 });
      onRun?.(run, sent);
    },
  });
}
