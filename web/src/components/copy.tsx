import { useEffect, useState } from "react";
import { announce } from "../lib/announce";
import { IconButton, pressed } from "./button";
import { Icon } from "./icon";

/** Puts a text where it can be pasted from. A page that is not served safely may not use the clipboard itself. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "unseen";
    const before = document.activeElement;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (before instanceof HTMLElement) before.focus();
    return done;
  }
}

function useCopied(text: string) {
  const [copied, setCopied] = useState<boolean | null>(null);
  useEffect(() => {
    if (copied === null) return;
    const timer = setTimeout(() => setCopied(null), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const press = async () => {
    const done = await copy(text);
    setCopied(done);
    announce(done ? "Copied" : "The browser does not let this page copy");
  };
  return { copied, press };
}

/** Copies a text; a sign alone. */
export function CopyIcon({ text, what, className }: { text: string; what: string; className?: string }) {
  const { copied, press } = useCopied(text);
  return <IconButton name={copied ? "done" : "copy"} label={`Copy ${what}`} onClick={press} className={className} />;
}

/** Copies a text; a button with words. */
export function CopyButton({ text, children = "Copy" }: { text: string; children?: string }) {
  const { copied, press } = useCopied(text);
  return (
    <button type="button" className={pressed("plain")} onClick={press}>
      <Icon name={copied ? "done" : "copy"} />
      {copied ? "Copied" : children}
    </button>
  );
}
