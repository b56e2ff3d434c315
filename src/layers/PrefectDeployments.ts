/** Finds deployments by their names, and remembers their ids until one turns out to be gone. */
import { Cache, Duration, Effect, Exit } from "effect"
import { type Reply, refused } from "../services/Reply.ts"
import { blameless, type Failure } from "./HttpAnswer.ts"
import type { PrefectClient } from "./PrefectClient.ts"
import type { Name } from "./PrefectRequest.ts"

/** A deployment's id, or why there is none to be used. */
export type Found = { readonly id: string } | { readonly refusal: Reply }

export interface PrefectDeployments {
  /** One lookup for all that ask for a name at the same time. */
  readonly find: (name: Name) => Effect.Effect<Found, Failure>
  /** This id was answered 404. */
  readonly forget: (name: Name, id: string) => Effect.Effect<void>
}

/** Units: names that are remembered. */
const namesMax = 1000
/** Units: items. Prefect gives no more in one answer; and how many answers are read. */
const pageSize = 200
const pagesMax = 25

export const make = (client: PrefectClient): Effect.Effect<PrefectDeployments> =>
  Effect.map(
    Cache.makeWith((text: string) => lookup(client, named(text)), {
      capacity: namesMax,
      timeToLive: (exit) => (Exit.isSuccess(exit) && "id" in exit.value ? Duration.infinity : Duration.zero)
    }),
    (cache) => ({
      find: ({ text }) => Cache.get(cache, text),
      forget: ({ text }, id) =>
        Effect.asVoid(Cache.invalidateWhen(cache, text, (found) => "id" in found && found.id === id))
    })
  )

const named = (text: string): Name => {
  const [flow = "", deployment = ""] = text.split("/")
  return { flow, deployment, text }
}

/** By the exact name, and where there is none of it, by equality whatever the case. */
const lookup = Effect.fnUntraced(function* (client: PrefectClient, name: Name): Effect.fn.Return<Found, Failure> {
  const exact = yield* byName(client, name)
  if (exact === undefined || exact.status === 404) return yield* byAnyCase(client, name, exact)
  return exact.kind === "accepted" ? { id: yield* idOf(name, exact.payload) } : { refusal: exact }
})

/** A URL has no place for a part that is only dots. */
const isDots = (part: string): boolean => part === "." || part === ".."

const byName = (client: PrefectClient, { deployment, flow, text }: Name): Effect.Effect<Reply | undefined, Failure> => {
  if (isDots(flow) || isDots(deployment)) return Effect.succeed(undefined)
  const path = `/deployments/name/${encodeURIComponent(flow)}/${encodeURIComponent(deployment)}`
  return client.ask({ about: text, method: "GET", path })
}

const byAnyCase = Effect.fnUntraced(function* (
  client: PrefectClient,
  { deployment, flow, text }: Name,
  exact: Reply | undefined
): Effect.fn.Return<Found, Failure> {
  // Prefect's `like_` finds whatever contains the text: it narrows the search, and equality decides.
  const like = { flows: { name: { like_: flow } }, deployments: { name: { like_: deployment } } }
  const near = yield* all(client, text, "/deployments/filter", like)
  const sameName = near.filter((one) => isSame(one.name, deployment))
  const flowIds = [...new Set(sameName.map((one) => `${one.flow_id}`))]
  const flows = new Map<unknown, unknown>()
  for (let i = 0; i < flowIds.length; i += pageSize) {
    const ids = { flows: { id: { any_: flowIds.slice(i, i + pageSize) } } }
    const found = yield* all(client, text, "/flows/filter", ids)
    for (const one of found) flows.set(one.id, one.name)
  }
  const equal = sameName.filter((one) => isSame(flows.get(one.flow_id), flow))
  if (equal.length === 1) return { id: yield* idOf({ text }, equal[0]) }
  if (equal.length === 0) {
    const said = exact?.reason === undefined ? "" : ` (${exact.reason})`
    return { refusal: refused(`there is no deployment \`${text}\`${said}`) }
  }
  const names = equal.map((one) => `\`${flows.get(one.flow_id)}/${one.name}\``).sort()
  return { refusal: refused(`the deployment \`${text}\` is ambiguous: there are ${names.join(" and ")}`) }
})

const isSame = (name: unknown, asked: string): boolean =>
  typeof name === "string" && name.toLowerCase() === asked.toLowerCase()

const idOf = ({ text }: { readonly text: string }, found: unknown): Effect.Effect<string, Failure> => {
  const id = (found as { readonly id?: unknown } | null | undefined)?.id
  return typeof id === "string"
    ? Effect.succeed(id)
    : blameless(`${text}: Prefect answered without the deployment's id`)
}

type Item = Readonly<Record<string, unknown>>

/** All pages of a filter. An answer that is no list comes from no Prefect API. */
const all = Effect.fnUntraced(function* (
  client: PrefectClient,
  about: string,
  path: string,
  filter: object
): Effect.fn.Return<ReadonlyArray<Item>, Failure> {
  const items: Array<Item> = []
  for (let page = 0; page < pagesMax; page++) {
    const body = JSON.stringify({ ...filter, limit: pageSize, offset: page * pageSize })
    const { kind, payload, reason, status } = yield* client.ask({ about, method: "POST", path, body })
    if (kind === "refused") {
      const noRoute = status === 404 || status === 405
      if (noRoute) return yield* blameless(`${reason} (is this the URL of a Prefect API?)`)
      return yield* Effect.fail<Failure>({ reason: reason!, presence: "answered", retryable: false })
    }
    if (!Array.isArray(payload)) return yield* blameless(`${about}: Prefect's ${path} answered no list`)
    items.push(...(payload as ReadonlyArray<Item>))
    if (payload.length < pageSize) break
  }
  return items
})
