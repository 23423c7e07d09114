import { useState } from "react";
import { type Ask, LANGUAGES, type Language, snippet } from "../../lib/snippet";
import { Button } from "../button";
import { CopyButton } from "../copy";
import { Dialog } from "../dialog";
import { Tabs } from "../tabs";

/** The same request for a program, in several languages. */
export function ShowAs({ ask }: { ask: Ask }) {
  const [open, setOpen] = useState(false);
  const [language, setLanguage] = useState<Language>("curl");
  return (
    <>
      <Button kind="quiet" icon="code" onClick={() => setOpen(true)}>
        Show as code
      </Button>
      <Dialog open={open} title="The same from a program" onClose={() => setOpen(false)} wide>
        <p className="text-ink-soft">
          It reads a key of yours from <code>POLYDEV_API_KEY</code>: make one in the settings.
        </p>
        <Tabs
          label="Language"
          value={language}
          onValue={setLanguage}
          tabs={LANGUAGES.map((language) => ({
            value: language,
            label: language,
            content: <Snippet code={snippet(language, ask, window.location.origin)} />,
          }))}
        />
      </Dialog>
    </>
  );
}

function Snippet({ code }: { code: string }) {
  return (
    <div className="space-y-3">
      <pre tabIndex={0} className="max-h-[50dvh] overflow-auto rounded-md border bg-well p-3 text-sm">
        <code>{code}</code>
      </pre>
      <CopyButton text={code} />
    </div>
  );
}
