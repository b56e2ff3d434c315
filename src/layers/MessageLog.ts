/** Says of each message, at debug level, that it is handled, what is called for it, and where its answer lies. */
import { Effect } from "effect"
import type { Codec } from "../services/Codec.ts"
import type { Dispatcher } from "../services/Dispatcher.ts"
import type { Envelope } from "../services/Envelope.ts"
import type { Publisher } from "../services/Publisher.ts"
import { later } from "../services/Ready.ts"

/** The wording is that of eventor, whose users search their logs for it. */
export const codec = (one: Codec): Codec => ({
  ...one,
  decode: (envelope) =>
    Effect.andThen(Effect.logDebug(`handling message: ${placeOf(envelope)}`), later(one.decode(envelope)))
})

export const dispatcher = (one: Dispatcher, options: { readonly [option: string]: unknown }): Dispatcher => {
  const line = `calling endpoint: '${options["method"]} ${options["url"]}'`
  return {
    ...one,
    dispatch: (detection) => Effect.andThen(Effect.logDebug(line), later(one.dispatch(detection)))
  }
}

export const publisher = (one: Publisher): Publisher => ({
  ...one,
  publish: (batch) =>
    Effect.tap(one.publish(batch), (stored) =>
      Effect.forEach(
        stored ?? [],
        ({ offset, partition, topic }) =>
          Effect.logDebug(`successfully produced EventHandler result: ${topic}[${partition}]@${offset}`),
        { discard: true }
      )
    )
})

/** Such as `orders[0]@184`. */
const placeOf = ({ id, partition, position }: Envelope): string => {
  const at = partition?.lastIndexOf("/") ?? -1
  return at < 0 ? id : `${partition!.slice(0, at)}[${partition!.slice(at + 1)}]@${position}`
}
