import { useSyncExternalStore } from "react";

/** A value that components follow. */
export class Store<T> {
  #value: T;
  #followers = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get = (): T => this.#value;

  set = (value: T): void => {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const follower of [...this.#followers]) follower();
  };

  follow = (follower: () => void): (() => void) => {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  };
}

/** The value of a store, now and whenever it changes. */
export const useStore = <T>(store: Store<T>): T => useSyncExternalStore(store.follow, store.get);
