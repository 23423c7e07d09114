import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, type Connection, take } from "../../api/client";
import { contents } from "../../api/contents";
import { announce } from "../../lib/announce";

type With = { api_key: string } | { setup_token: string } | { files: File[] };

/** Connects a provider with a secret, or with the files of a login. */
export function useConnect(provider: string, onDone: (connection: Connection) => void) {
  const queryClient = useQueryClient();
  const params = { path: { provider } };
  return useMutation({
    mutationFn: async (body: With) => {
      if (!("files" in body)) return take(api.PUT("/api/v1/connections/{provider}", { params, body }));
      const encoded = await Promise.all(body.files.map(async (file) => [file.name, await contents(file)] as const));
      const files = Object.fromEntries(encoded);
      return take(api.POST("/api/v1/connections/{provider}/import", { params, body: { files } }));
    },
    onSuccess: async (connection) => {
      announce("Successfully connected");
      onDone(connection);
      await queryClient.invalidateQueries();
    },
  });
}
