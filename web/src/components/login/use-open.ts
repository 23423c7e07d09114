import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { api, take } from "../../api/client";
import { queries } from "../../api/queries";

/** Opens a desktop to sign in at a provider, or finds the one that is open, and goes there. */
export function useOpenLogin(provider: string) {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: () => take(api.POST("/api/v1/logins", { body: { provider } })),
    onSuccess: (login) => {
      queryClient.setQueryData(queries.login(login.id).queryKey, login);
      void queryClient.invalidateQueries({ queryKey: queries.logins().queryKey });
      return navigate({ to: "/logins/$id", params: { id: login.id } });
    },
  });
}
