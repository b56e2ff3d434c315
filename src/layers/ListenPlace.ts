/** Finds the topic to which the pipelines of a config publish an event. */
import type { Brokers, Options } from "../services/KafkaConnection.ts"
import type { Subject } from "../services/SchemaRegistry.ts"
import type { Config, Pipeline } from "./Config.ts"

export interface Place {
  readonly type: "topic" | "kafka"
  readonly topic: string
  /** Whether it holds what is published of other events too. */
  readonly isShared: boolean
  readonly pipeline: Pipeline
  /** Of the publisher. */
  readonly options: Options & { readonly brokers?: typeof Brokers.Type }
  readonly path: ReadonlyArray<string | number>
}

type Pipelines = Config["pipelines"]
type Publisher = Omit<Place, "topic" | "isShared"> & {
  /** As it is configured, with its placeholders. */
  readonly text: string
}

/** Where a gateway's events go when nothing else is said: a topic for each. */
const ofGateway = "{{envelope.headers.client}}.{{envelope.headers.event}}"

const publishersOf = (pipelines: Pipelines): ReadonlyArray<Publisher> =>
  Object.entries(pipelines).flatMap(([name, pipeline]) =>
    pipeline.publish.flatMap((options, i): ReadonlyArray<Publisher> => {
      const { type } = options
      if (type !== "topic" && type !== "kafka") return []
      const text = options.topic ?? (isGateway(pipeline) ? ofGateway : undefined)
      if (typeof text !== "string") return []
      const path = ["pipelines", name, "publish", i]
      return [{ type, text, pipeline, options: options as unknown as Place["options"], path }]
    })
  )

const isGateway = ({ source }: Pipeline): boolean => source.type === "gateway"

/** The names as they are configured, each once. */
export const topics = (pipelines: Pipelines): ReadonlyArray<string> => [
  ...new Set(publishersOf(pipelines).map(({ text }) => text))
]

/**
 * The place that fits best, of several the first: a gateway's topic of this event, any topic of its name, one whose
 * placeholders could give its name, and last one that a gateway fills with all its events.
 */
export const find = (pipelines: Pipelines, { client, event }: Subject): Place | undefined => {
  const name = `${client}.${event}`
  const fits: Array<Place & { readonly rank: number }> = []
  for (const { text, ...publisher } of publishersOf(pipelines)) {
    const place = (rank: number, topic: string, isShared = false) => fits.push({ ...publisher, topic, isShared, rank })
    const filled = text.replaceAll(/\{\{\s*envelope\.headers\.(client|event)\s*\}\}/g, (_, header) =>
      header === "client" ? client : event
    )
    const isPlain = !filled.includes("{{")
    const isOwn = /\{\{\s*envelope\.headers\.event\s*\}\}/.test(text)
    if (isGateway(publisher.pipeline) && isOwn && isPlain) place(0, filled)
    else if (filled === name) place(1, name)
    else if (!isPlain && couldBe(filled, name)) place(2, name)
    else if (isGateway(publisher.pipeline) && isPlain) place(3, filled, true)
  }
  const best = Math.min(...fits.map(({ rank }) => rank))
  const found = fits.find(({ rank }) => rank === best)
  if (found === undefined) return undefined
  const { rank: _, ...place } = found
  return place
}

/** Whether the placeholders of a text can be filled so that it becomes this name. */
const couldBe = (text: string, name: string): boolean => {
  const parts = text.split(/\{\{[^{}]*\}\}/).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
  return new RegExp(`^${parts.join("[^\\s]+")}$`).test(name)
}
