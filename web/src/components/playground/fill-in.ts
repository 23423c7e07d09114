import { useNavigate } from "@tanstack/react-router";
import type { Run } from "../../api/client";
import { setDraft } from "../../lib/draft";

/** What is asked, as far as it is kept while it is written; `wanted` are names of files, one a line. */
export type Drafts = "prompt" | "system" | "tools" | "wanted" | `model.${string}`;

/** Fills in what a run was asked with, to be looked at and sent again: its files are to be chosen anew. */
export function useFillIn() {
  const navigate = useNavigate();
  return ({ id, user_id, provider, prompt, model, given }: Run) => {
    const put = (name: Drafts, text: string) => setDraft(user_id, name, text);
    put("prompt", prompt ?? "");
    put("system", given?.system ?? "");
    put("tools", given?.tools === "none" ? "none" : "");
    put("wanted", given?.files.join("\n") ?? "");
    put(`model.${provider}`, model ?? "");
    void navigate({ to: "/playground", search: { provider, run: id } });
  };
}
