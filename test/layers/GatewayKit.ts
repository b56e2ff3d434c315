/** An access to a gateway with files of its own, and what it logged. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Logger } from "effect"
import * as GatewayAccessNode from "../../src/layers/GatewayAccessNode.ts"
import type { Access, Denial, Headers, Options, Right, Where } from "../../src/services/GatewayAccess.ts"
import { later } from "../../src/services/Ready.ts"

export const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** Everything that is logged inside, as the program writes it. */
export const logged = () => {
  const lines: Array<string> = []
  return { lines, layer: Logger.layer([Logger.make((one) => void lines.push(Logger.formatJson.log(one)))]) }
}

export const make = (options: Options, where: Partial<Where> = {}) =>
  GatewayAccessNode.make(options, { folder: "/", host: "127.0.0.1", pipeline: "orders", ...where })

export const check = (access: Access, headers: Headers, client = "acme", right: Right = "send") =>
  Effect.suspend(() => later(access.check(headers, client, right)))

/** Status and reason, or that it was let in. */
export const outcome = (access: Access, headers: Headers, client = "acme", right: Right = "send") =>
  Effect.map(check(access, headers, client, right), said)

export const said = (denial: Denial | undefined): string =>
  denial === undefined ? "in" : `${denial.status} ${denial.reason}`

export const bearer = (credential: string): Headers => ({ authorization: `Bearer ${credential}` })
