import type { Method } from "../api/client";

/** How a connection was made, in words. */
export function methodWord(method: Method): string {
  switch (method) {
    case "login":
      return "Signed in here";
    case "api_key":
      return "API key";
    case "setup_token":
      return "Setup token";
    case "import":
      return "Imported login";
  }
}

/** The same, after a comma: who is connected, and how. */
export function byMethod(method: Method): string {
  switch (method) {
    case "login":
      return "by signing in here";
    case "api_key":
      return "by API key";
    case "setup_token":
      return "by setup token";
    case "import":
      return "by an imported login";
  }
}
