/** Directories of event modules for tests, and a payload they look at. */
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"

export const layers = join(import.meta.dirname, "../../src/layers")

/** A directory, far from any node_modules, with these files; gone with the scope. */
export const directory = (files: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const made = mkdtempSync(join(tmpdir(), "event-modules-"))
      for (const [name, text] of Object.entries(files)) writeFileSync(join(made, name), text)
      return made
    }),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )

/** A module in CommonJS. */
export const moduleOf = (detector: string, handler = "() => []"): string =>
  `module.exports.detector = ${detector}; module.exports.handler = ${handler}`

export const update = (before: object, after: object) => ({
  id: "85f2e6d5-0b4e-4d3c-b9a1-1c1a3b0d8f10",
  created_at: "2026-01-01T00:00:00.000Z",
  table: { schema: "public", name: "moves" },
  trigger: { name: "moves" },
  event: {
    op: "UPDATE",
    data: { old: before, new: after },
    session_variables: { "x-hasura-role": "user", "x-hasura-user-email": "ann@example.com" },
    trace_context: null
  },
  delivery_info: { max_retries: 3, current_retry: 0 }
})

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program of its own, as users run theirs; ends it after 30 s. */
export const node = (file: string, ...args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    execFile(process.execPath, [file, ...args], { timeout: 30_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1
      resume(Effect.succeed({ code, stdout, stderr }))
    })
  })
