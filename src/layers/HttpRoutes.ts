/** Finds the route that answers a request, by method and path. */
import { Effect, type Scope } from "effect"
import * as FindMyWay from "effect/http/FindMyWay"
import { HttpHostError, type Route } from "../services/HttpHost.ts"

/** What there is for a method and a path. */
export type Found =
  | { readonly _tag: "Route"; readonly route: Route; readonly params: Readonly<Record<string, string>> }
  /** Its scope has closed; it may be taken again. */
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Unknown" }
  | { readonly _tag: "OtherMethod"; readonly allow: string }

interface Slot {
  route: Route
  open: boolean
}

/** Units: characters of one parameter in a path. */
const paramMax = 1024

export class HttpRoutes {
  private slots: ReadonlyMap<string, Slot> = new Map()
  private router = FindMyWay.make<Slot>()

  /** Takes a route while the scope is open. Fails: `HttpHostError` when the path is taken. */
  take(route: Route): Effect.Effect<void, HttpHostError, Scope.Scope> {
    return Effect.asVoid(
      Effect.acquireRelease(
        Effect.suspend(() => this.claim({ ...route, method: route.method.toUpperCase() })),
        (slot) =>
          Effect.sync(() => {
            slot.open = false
          })
      )
    )
  }

  find(method: string, path: string): Found {
    const found = this.router.find(method, path) ?? (method === "HEAD" ? this.router.find("GET", path) : undefined)
    if (found === undefined) return this.missing(path)
    const { handler, params } = found
    if (!handler.open) return { _tag: "Closed" }
    return { _tag: "Route", route: handler.route, params: params as Readonly<Record<string, string>> }
  }

  private missing(path: string): Found {
    const methods = [...new Set([...this.slots.values()].map(({ route }) => route.method))]
    const allowed = methods.filter((method) => this.router.find(method, path) !== undefined)
    if (allowed.length === 0) return { _tag: "Unknown" }
    if (allowed.includes("GET") && !allowed.includes("HEAD")) allowed.push("HEAD")
    return { _tag: "OtherMethod", allow: allowed.sort().join(", ") }
  }

  private claim(route: Route): Effect.Effect<Slot, HttpHostError> {
    const name = `${route.method} ${route.path}`
    if (!route.path.startsWith("/")) {
      return Effect.fail(new HttpHostError({ reason: `the path of ${name} does not start with /` }))
    }
    const key = `${route.method} ${pattern(route.path)}`
    if (this.slots.get(key)?.open === true)
      return Effect.fail(new HttpHostError({ reason: `${name} is taken already` }))
    const slot: Slot = { route, open: true }
    return Effect.try({
      try: () => this.rebuild(new Map(this.slots).set(key, slot)),
      catch: (error) => new HttpHostError({ reason: `${name} cannot be a path: ${(error as Error).message}` })
    }).pipe(Effect.as(slot))
  }

  /** The router forgets nothing, so a path that is taken again, maybe with other parameters, needs a new one. */
  private rebuild(slots: ReadonlyMap<string, Slot>): void {
    const router = FindMyWay.make<Slot>({ caseSensitive: true, maxParamLength: paramMax })
    for (const slot of slots.values()) router.on(slot.route.method, slot.route.path as FindMyWay.PathInput, slot)
    this.router = router
    this.slots = slots
  }
}

/** Two paths with the same pattern answer the same requests, whatever their parameters are called. */
const pattern = (path: string): string =>
  path
    .replaceAll(/\/{2,}/g, "/")
    .replace(/(?<=.)\/$/, "")
    .replaceAll(/:[^/().-]+/g, ":")
