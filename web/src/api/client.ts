import createClient from "openapi-fetch";
import { problemOf, unreachable } from "./problem";
import type { components, paths } from "./schema";

/** The server's API, typed by its own document. */
export const api = createClient<paths>({ baseUrl: globalThis.location?.origin ?? "" });

type Schemas = components["schemas"];
export type Me = Schemas["Me"];
export type Provider = Schemas["ProviderView"];
export type Method = Schemas["Method"];
export type Connection = Schemas["ConnectionView"];
export type Failure = Schemas["Failure"];
export type Run = Schemas["RunView"];
export type RunStatus = Schemas["RunStatus"];
export type RunEvent = Schemas["Event"];
export type Usage = Schemas["Usage"];
export type Login = Schemas["LoginView"];
export type LoginStatus = Schemas["LoginStatus"];
export type LoginStage = Schemas["LoginStage"];
export type LoginLink = Schemas["LoginLink"];
export type LoginQuestion = Schemas["LoginQuestion"];
export type LoginEvent = Schemas["LoginEvent"];

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** What the API answers, or a thrown `Problem`. */
export async function take<T>(asked: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await asked;
  } catch (thrown) {
    if (thrown instanceof DOMException && thrown.name === "AbortError") throw thrown;
    throw unreachable();
  }
  if (!answer.response.ok) throw problemOf(answer.response.status, answer.error, answer.response.headers);
  return answer.data as T;
}
