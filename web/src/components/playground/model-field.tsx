import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import type { Provider } from "../../api/client";
import { asProblem, type Problem } from "../../api/problem";
import { queries } from "../../api/queries";
import { sentence } from "../../lib/text";
import { Field } from "../field";
import { Words } from "../words";

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
        hint={models.isError && <Unknown problem={asProblem(models.error)} />}
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

/** Why no models are offered: any may be given by its name. */
function Unknown({ problem: { message, hint, requestId } }: { problem: Problem }) {
  return (
    <>
      Its models are not known. <Words>{sentence(message)}</Words> {hint && <Words>{sentence(hint)}</Words>}{" "}
      {requestId && (
        <span className="text-xs">
          Request <code className="break-all select-all">{requestId}</code>
        </span>
      )}
    </>
  );
}
