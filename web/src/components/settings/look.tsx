import * as RadioGroup from "@radix-ui/react-radio-group";
import { useState } from "react";
import { choose, type Theme, theme } from "../../lib/theme";
import { Icon, type IconName } from "../icon";
import { Part } from "./part";

const THEMES: { value: Theme; label: string; icon: IconName }[] = [
  { value: "system", label: "As the system", icon: "desktop" },
  { value: "light", label: "Light", icon: "light" },
  { value: "dark", label: "Dark", icon: "dark" },
];

/** Light or dark, in this browser. */
export function Look() {
  const [chosen, setChosen] = useState(theme);
  const change = (value: string) => {
    const next = THEMES.find((theme) => theme.value === value)?.value ?? "system";
    choose(next);
    setChosen(next);
  };
  return (
    <Part anchor="look" title="Appearance" lead="Kept in this browser.">
      <RadioGroup.Root
        aria-label="Appearance"
        value={chosen}
        onValueChange={change}
        orientation="horizontal"
        className="inline-flex flex-wrap gap-2"
      >
        {THEMES.map(({ value, label, icon }) => (
          <RadioGroup.Item
            key={value}
            value={value}
            className="flex h-9 items-center gap-2 rounded-md border border-edge bg-sheet px-3 font-medium text-ink-soft transition-colors hover:bg-well pointer-coarse:h-11 data-[state=checked]:border-accent data-[state=checked]:bg-accent-wash data-[state=checked]:text-ink"
          >
            <Icon name={icon} />
            {label}
            {value === chosen && <Icon name="done" className="text-accent" />}
          </RadioGroup.Item>
        ))}
      </RadioGroup.Root>
    </Part>
  );
}
