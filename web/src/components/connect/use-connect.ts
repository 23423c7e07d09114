import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, type Connection, take } from "../../api/client";
import { announce } from "../../lib/announce";

type With = { api_key: string } | { setup_token: string } | { files: Record<string, string> };

/** Connects a provider with a secret, or with the files of a login. */
export function useConnect(provider: string, onDone: (connection: Connection) => void) {
  const queryClient = useQueryClient();
  const params = { path: { provider } };
  return useMutation({
    mutationFn: (body: With) =>
      "files" in body
        ? take(api.POST("/api/v1/connections/{provider}/import", { params, body }))
        : take(api.PUT("/api/v1/connections/{provider}", { params, body })),
    onSuccess: async (connection) => {
      announce("Successfully connected");
      onDone(connection);
      await queryClient.invalidateQueries();
    },
  });
}
