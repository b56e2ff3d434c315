/** Detectors as functions, one per event: each looks for its own event, and one that breaks stops no other. */
import { Effect } from "effect"
import { DetectError, type Detector } from "../services/Detector.ts"
import type { Detection, Event } from "../services/Event.ts"
import { isLater, type Ready } from "../services/Ready.ts"
import { words } from "../streams/Runner.ts"

/** Whether the event shows it: at once, or after waiting. */
export type Look<E = any> = (event: Event) => Ready<boolean, E>

type Looks = Readonly<Record<string, Look>>

/** Of all answers, some of which are no effects. */
type ErrorOf<Answer> = Answer extends Effect.Effect<unknown, infer E> ? E : never

/** While a type is not known yet it is `any`: nothing is asked for then. */
type TagOf<E> = 0 extends 1 & E ? never : E extends { readonly _tag: infer Tag extends string } ? Tag : never

type TagsOf<All extends Looks> = {
  readonly [Name in keyof All]: TagOf<ErrorOf<ReturnType<All[Name]>>>
}[keyof All]

/** no: it counts as not found · broken: it is reported, and the message is buried where nothing else was found. */
export type FailurePolicy = "no" | "broken"

export type Options<All extends Looks> = [TagsOf<All>] extends [never]
  ? { readonly failures?: Readonly<Record<string, FailurePolicy>> | undefined }
  : { readonly failures: { readonly [Tag in TagsOf<All>]: FailurePolicy } }

/**
 * One detector per event, in the order given; a failure without a policy does not type-check.
 *
 * ```ts
 * Detectors.make({ "order.paid": ({ payload }) => isPaid(payload) })
 * ```
 */
export const make = <const All extends Looks>(
  looks: All,
  ...[options]: [TagsOf<All>] extends [never] ? [options?: Options<All>] : [options: Options<All>]
): ReadonlyArray<Detector> => {
  const policies = (options?.failures ?? {}) as Readonly<Record<string, FailurePolicy>>
  return Object.entries(looks).map(([name, look]) => detectorOf(name, look, policies))
}

const detectorOf = (name: string, look: Look, policies: Readonly<Record<string, FailurePolicy>>): Detector => ({
  name,
  events: [name],
  detect: (event) => {
    const found = look(event)
    if (!isLater(found)) return found ? [{ name, event }] : none
    return Effect.matchEffect(found, {
      onSuccess: (is) => Effect.succeed(is ? [{ name, event }] : none),
      onFailure: (error) => {
        const tag = typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : ""
        if (Object.hasOwn(policies, tag) && policies[tag] === "no") return Effect.succeed(none)
        return Effect.fail(new DetectError({ detector: name, reason: words(error) }))
      }
    })
  }
})

const none: ReadonlyArray<Detection> = []
