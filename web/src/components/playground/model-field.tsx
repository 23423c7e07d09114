import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import type { Provider } from "../../api/client";
import { asProblem } from "../../api/problem";
import { queries } from "../../api/queries";
import { sentence } from "../../lib/text";
import { Field } from "../field";

type Props = { provider: Provider; model: string; onModel: (model: string) => void };

/** The model: the provider's default, one that it names, or any other by its name. */
export function ModelField({ provider, model, onModel }: Props) {
  const id = useId();
  const models = useQuery(queries.models(provider.provider));
  return (
    <>
      <Field
        label="Model"
        value={model}
        onChange={(event) => onModel(event.target.value)}
        placeholder={provider.default_model}
        list={id}
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        maxLength={200}
        hint={models.isError ? `Its models are not known. ${sentence(asProblem(models.error).message)}` : undefined}
      />
      <datalist id={id}>
        {models.data?.map((model) => (
          <option key={model.id} value={model.id}>
            {model.label}
          </option>
        ))}
      </datalist>
    </>
  );
}
