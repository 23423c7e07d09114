import { useInfiniteQuery } from "@tanstack/react-query";
import { people } from "../../api/queries";

/** The email of a person by their id, where the first pages of people tell; else the id. */
export function useNames(): (id: string | null | undefined) => string {
  const users = useInfiniteQuery(people.users()).data?.pages.flatMap((page) => page.items) ?? [];
  const names = new Map(users.map(({ id, email }) => [id, email]));
  return (id) => (id ? (names.get(id) ?? id) : "nobody");
}

/** Somebody's email, in a column of them. */
export function Who({ children }: { children: string }) {
  return (
    <span title={children} className="block max-w-60 truncate">
      {children}
    </span>
  );
}
