/** Finds the event a message names itself: the value of a field, such as `message_type`, is the event. */
import { Effect, Result, Schema } from "effect"
import * as Component from "../services/Component.ts"
import type { Detector } from "../services/Detector.ts"
import * as Fields from "../services/Fields.ts"
import * as Path from "../streams/Path.ts"

/**
 * `events` maps values to event names and leaves out all others; absent, the value is the name. `otherwise` is the event
 * of a message that has no value there.
 */
export const make = (path: Path.Path, events?: Readonly<Record<string, string>>, otherwise?: string): Detector => ({
  name: "field",
  events:
    events === undefined ? undefined : [...Object.values(events), ...(otherwise === undefined ? [] : [otherwise])],
  detect: (event) => {
    const value = Path.asKey(path.read({ event }))
    if (value === undefined || value === "") return otherwise === undefined ? [] : [{ name: otherwise, event }]
    const name = events === undefined ? value : Object.hasOwn(events, value) ? events[value] : undefined
    return name === undefined ? [] : [{ name, event }]
  },
  explain: (event) => {
    const value = path.read({ event })
    if (otherwise !== undefined && (value === undefined || value === null || value === "")) {
      return [{ event: otherwise, verdict: "yes", why: undefined }]
    }
    const known = typeof value === "string" && value !== "" && (events === undefined || Object.hasOwn(events, value))
    const name = known ? (events?.[value] ?? value) : path.text
    const why = known ? undefined : `${path.text} is ${JSON.stringify(value) ?? "absent"}`
    return [{ event: name, verdict: known ? "yes" : "no", why }]
  }
})

export const component = Component.detector({
  type: "field",
  summary: "The value of a field is the event; `events` maps values to other names and leaves out the rest.",
  options: Schema.Struct({
    path: Fields.orElse(Fields.Text, "payload.message_type"),
    events: Schema.optionalKey(Schema.Record(Schema.String, Fields.Text)),
    /** The event of a message that has nothing there. */
    otherwise: Schema.optionalKey(Fields.Text)
  }),
  make: ({ events, otherwise, path }) => {
    const read = Path.compile(path, ["payload", "envelope"])
    return Result.isSuccess(read)
      ? Effect.succeed(make(read.success, events, otherwise))
      : Effect.fail(new Component.OptionsError({ problems: [{ path: ["path"], expected: read.failure, found: path }] }))
  }
})
