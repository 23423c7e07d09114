import type { Connection, RunStatus } from "../api/client";
import type { Standing } from "../components/status";

/** Where a run can stand, in the order in which it does. */
export const STATUSES: RunStatus[] = ["queued", "running", "completed", "failed", "cancelled"];

/** Whether runs can use a connection that stands so. */
export const isGood = (status: Connection["status"]): boolean => status === "active" || status === "expiring";

/** How a connection stands, in a word. */
export function ofConnection(connection: Connection | undefined): { is: Standing; word: string } {
  if (!connection) return { is: "idle", word: "Not connected" };
  switch (connection.status) {
    case "active":
      return { is: "good", word: "Connected" };
    case "expiring":
      return { is: "wary", word: "Ends soon" };
    case "needs_reconnect":
      return { is: "bad", word: "Reconnect" };
    case "revoked":
      return { is: "bad", word: "Withdrawn" };
  }
}

/** How a run stands, in a word. */
export function ofRun(status: RunStatus, code?: string | null): { is: Standing; word: string } {
  switch (status) {
    case "queued":
      return { is: "wait", word: "Queued" };
    case "running":
      return { is: "busy", word: "Running" };
    case "completed":
      return { is: "good", word: "Completed" };
    case "failed":
      return code === "interrupted" ? { is: "wary", word: "Interrupted" } : { is: "bad", word: "Failed" };
    case "cancelled":
      return { is: "idle", word: "Cancelled" };
  }
}
