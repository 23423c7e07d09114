import type { Page } from "playwright-core";
import type { Server } from "./server";

export const PASSWORD = "correct horse battery";

/** A key that the stand-in takes. */
export const GOOD_KEY: Record<string, string> = {
  claude: "sk-ant-standin-web",
  codex: "sk-standin-web",
  gemini: "AIzaStandinWeb",
};

/** Makes the first account by the setup link, as a person does. */
export async function setUp(page: Page, server: Server, email = "ada@example.com"): Promise<void> {
  await page.goto(server.setupLink);
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("The password again").fill(PASSWORD);
  await page.getByRole("button", { name: "Make the account" }).click();
  await page.getByRole("heading", { name: "Dashboard" }).waitFor();
}

/** Signs in, as a person does. */
export async function signIn(page: Page, email: string, password: string): Promise<void> {
  await page.goto("/signin");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Dashboard" }).waitFor();
}

/** Asks the API from the page, with its session. */
export async function ask<T>(page: Page, method: string, path: string, body?: unknown): Promise<T> {
  return page.evaluate(
    async ([method, path, body]) => {
      const response = await fetch(`/api/v1${path}`, {
        method: method as string,
        headers: { "content-type": "application/json" },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${response.status}: ${text}`);
      return text === "" ? null : JSON.parse(text);
    },
    [method, path, body] as const,
  ) as Promise<T>;
}

/** Fills the prompt in and sends it by keyboard. */
export async function prompt(page: Page, text: string): Promise<void> {
  await page.getByLabel("Prompt", { exact: true }).fill(text);
  await page.keyboard.press("Control+Enter");
}
