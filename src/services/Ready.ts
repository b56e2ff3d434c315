/** A value at once, or an effect that brings it: what need not wait costs no fiber. */
import { Effect } from "effect"

export type Ready<A, E = never> = A | Effect.Effect<A, E>

/** Whether there is still something to run. Cheaper than `Effect.isEffect`, as hot loops ask. */
export const isLater = <A, E>(ready: Ready<A, E>): ready is Effect.Effect<A, E> =>
  typeof ready === "object" &&
  ready !== null &&
  (ready as { readonly [Effect.TypeId]?: unknown })[Effect.TypeId] !== undefined

/** Goes on with the value: at once where there is one. */
export const andThen = <A, B, E = never, E2 = never>(
  ready: Ready<A, E>,
  then: (value: A) => Ready<B, E2>
): Ready<B, E | E2> => (isLater(ready) ? Effect.flatMap(ready, (value) => later(then(value))) : then(ready))

/** As an effect in any case. */
export const later = <A, E>(ready: Ready<A, E>): Effect.Effect<A, E> => (isLater(ready) ? ready : Effect.succeed(ready))
