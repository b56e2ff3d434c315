/** Real input: the GitHub webhook payloads of @octokit/webhooks-examples over HTTP and over standard input, counted twice. */

import { copyFileSync } from "node:fs"
import { createRequire } from "node:module"
import { assert, describe, it } from "vitest"
import * as Program from "./Program.ts"

type Json = { readonly [field: string]: Json } & { readonly [index: number]: Json } & (string | number | boolean | null)

const examples = createRequire(import.meta.url)("@octokit/webhooks-examples") as ReadonlyArray<{
  readonly name: string
  readonly examples: ReadonlyArray<Json>
}>
const payloads = examples.flatMap((one) => one.examples)

/** The same events in plain code, to count them independently of the rules. */
const independent: Readonly<Record<string, (payload: any) => boolean>> = {
  "issue.opened": (_) => _.action === "opened" && _.issue != null,
  "issue.closed": (_) => _.action === "closed" && _.issue != null,
  "issue.labelled": (_) => (_.action === "labeled" || _.action === "unlabeled") && _.issue != null && _.label != null,
  "comment.created": (_) => _.action === "created" && typeof _.comment?.id === "number" && _.comment.id > 0,
  "pull.opened": (_) => (_.action === "opened" || _.action === "reopened") && _.pull_request != null,
  "pull.merged": (_) => _.action === "closed" && _.pull_request?.merged === true,
  "pull.abandoned": (_) => _.action === "closed" && _.pull_request?.merged === false,
  "pull.review": (_) => _.review?.state != null && _.action !== "dismissed",
  "push.branch": (_) => typeof _.ref === "string" && _.ref.startsWith("refs/heads/") && _.commits != null,
  "push.tag": (_) => typeof _.ref === "string" && _.ref.startsWith("refs/tags/") && _.commits != null,
  "release.published": (_) => _.action === "published" && _.release?.tag_name != null,
  "star.added": (_) => _.action === "created" && _.starred_at != null,
  "check.failed": (_) =>
    [_.check_run, _.check_suite, _.workflow_run].some((run) => ["failure", "timed_out"].includes(run?.conclusion)),
  "member.changed": (_) =>
    typeof _.member?.login === "string" &&
    /^[A-Za-z0-9-]+$/.test(_.member.login) &&
    ["added", "edited", "removed"].includes(_.action),
  "repository.big": (_) => typeof _.repository?.size === "number" && _.repository.size >= 1000
}

const wanted = (): Readonly<Record<string, number>> => {
  const counts: Record<string, number> = {}
  for (const payload of payloads as ReadonlyArray<any>) {
    // The pipeline drops what belongs to no repository.
    if (typeof payload.repository?.full_name !== "string") continue
    for (const [name, shows] of Object.entries(independent)) if (shows(payload)) counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

const counted = (stdout: string): Readonly<Record<string, number>> => {
  const counts: Record<string, number> = {}
  for (const line of Program.lines(stdout)) counts[line] = (counts[line] ?? 0) + 1
  return counts
}

describe("GitHub webhooks", () => {
  const folder = Program.folder()
  for (const file of ["github.yaml", "github-stdin.yaml"])
    copyFileSync(`${Program.root}/config/${file}`, `${folder.path}/${file}`)

  it("are detected over standard input", async () => {
    const stdin = payloads.map((payload) => JSON.stringify(payload)).join("\n")
    const ended = await Program.run(folder.path, ["github-stdin.yaml", "--strict"], { stdin })
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(counted(ended.stdout), wanted())
    assert.isAtLeast(Object.keys(wanted()).length, 10)
  })

  it("are detected over HTTP", async () => {
    const running = await Program.serve(folder.path, "github.yaml", { PORT: "0" })
    const statuses = new Set<number>()
    for (let i = 0; i < payloads.length; i += 20) {
      const answers = payloads.slice(i, i + 20).map((payload) =>
        fetch(`${running.address}/github`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(payload)
        })
      )
      for (const answer of await Promise.all(answers)) statuses.add(answer.status)
    }
    assert.deepStrictEqual([...statuses], [202])
    running.child.kill("SIGTERM")
    const ended = await running.ended
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(counted(ended.stdout), wanted())
    folder.remove()
  })
})
