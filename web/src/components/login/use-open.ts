import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { api, take } from "../../api/client";
import { queries } from "../../api/queries";

/** The part of a login's address that leads to signing in with one's own browser at once. */
export const OWN_BROWSER = "own-browser";

/** Opens a desktop to sign in at a provider, or finds the one that is open, and goes there, to a part of it if one is named. */
export function useOpenLogin(provider: string, hash = "") {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: () => take(api.POST("/api/v1/logins", { body: { provider } })),
    onSuccess: (login) => {
      queryClient.setQueryData(queries.login(login.id).queryKey, login);
      void queryClient.invalidateQueries({ queryKey: queries.logins().queryKey });
      return navigate({ to: "/logins/$id", params: { id: login.id }, hash });
    },
  });
}
