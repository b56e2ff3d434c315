/** The keys of gateway clients on the command line, beside a running process that lets clients in by the same file. */
import { appendFileSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { afterAll, assert, describe, it } from "vitest"
import * as GatewayAccessNode from "../../src/layers/GatewayAccessNode.ts"
import type { Access, Denial, Right } from "../../src/services/GatewayAccess.ts"
import { later } from "../../src/services/Ready.ts"
import * as Program from "./Program.ts"

const folder = Program.folder()
afterAll(folder.remove)

const sluice = async (...args: ReadonlyArray<string>) => {
  const ended = await Program.run(folder.path, args)
  assert.strictEqual(ended.code, 0, `${args.join(" ")}: ${ended.stderr}`)
  return ended
}

const access = (keys: string): Promise<Access> =>
  Effect.runPromise(
    GatewayAccessNode.make({ access: { keys } }, { folder: folder.path, host: "0.0.0.0", pipeline: "orders" })
  )

const check = (access: Access, key: string, client = "acme", right: Right = "send"): Promise<Denial | undefined> =>
  Effect.runPromise(later(access.check({ authorization: `Bearer ${key}` }, client, right)))

/** The bound that is promised for a change to be noticed. */
const noticed = () => new Promise((later) => setTimeout(later, 2_000))

describe("sluice key", () => {
  it("adds, lists, rotates and revokes while a process runs", async () => {
    const added = await sluice("key", "add", "gateway.keys", "acme", "--scope", "send,read", "--expires", "90d")
    const key = added.stdout.trim()
    const [, id, secret] = key.match(/^slk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/) ?? []
    assert.match(added.stderr, new RegExp(`key ${id} for acme may send, read; it is shown only this once`))
    const file = join(folder.path, "gateway.keys")
    assert.strictEqual(statSync(file).mode & 0o777, 0o600)
    assert.notInclude(readFileSync(file, "utf8"), secret!)

    const running = await access("gateway.keys")
    assert.isUndefined(await check(running, key))
    assert.strictEqual((await check(running, key, "acme", "register"))?.status, 403)
    assert.strictEqual((await check(running, key, "other"))?.status, 403)

    const rotated = JSON.parse((await sluice("key", "rotate", "--json", "gateway.keys", id!)).stdout)
    assert.deepStrictEqual([rotated.client, rotated.scopes], ["acme", ["send", "read"]])
    const days = (Date.parse(rotated.expiresAt) - Date.parse(rotated.createdAt)) / 86_400_000
    assert.strictEqual(days, 90)
    await noticed()
    assert.isUndefined(await check(running, key))
    assert.isUndefined(await check(running, rotated.key))

    const again = await Program.run(folder.path, ["key", "rotate", "gateway.keys", id!])
    assert.strictEqual(again.code, 2)
    assert.include(again.stderr, `key ${id} has been replaced already, by ${rotated.id}`)

    const last = (await sluice("key", "rotate", "gateway.keys", rotated.id, "--grace", "0s")).stdout.trim()
    await sluice("key", "revoke", "gateway.keys", id!)
    await noticed()
    assert.strictEqual((await check(running, key))?.reason, "the key has been revoked")
    assert.strictEqual((await check(running, rotated.key))?.reason, "the key has expired")
    assert.isUndefined(await check(running, last))

    const listed = JSON.parse((await sluice("--json", "key", "ls", "gateway.keys")).stdout)
    assert.deepStrictEqual(
      listed.map(({ client, id, state }: Record<string, string>) => [id, client, state]),
      [
        [id, "acme", "revoked"],
        [rotated.id, "acme", "expired"],
        [last.split("_")[1], "acme", "good"]
      ]
    )
    const plain = await sluice("key", "ls", "gateway.keys")
    assert.match(plain.stdout, new RegExp(`${id} {2}acme {2}send,read {2}revoked .* replaced by ${rotated.id}\n`))
    for (const text of [plain.stdout, JSON.stringify(listed)]) {
      assert.notInclude(text, "sha256")
      assert.notMatch(text, /[0-9a-f]{64}/)
    }
    const twice = await sluice("key", "revoke", "gateway.keys", id!)
    assert.include(twice.stdout, `key ${id} was revoked at `)
  })

  it("loses no key of several who add at the same time", async () => {
    const made = await Promise.all(
      Array.from({ length: 6 }, (_, i) => sluice("key", "add", "busy.keys", `client-${i}`, "--scope=send"))
    )
    const running = await access("busy.keys")
    for (const [i, { stdout }] of made.entries()) {
      assert.isUndefined(await check(running, stdout.trim(), `client-${i}`))
    }
    assert.lengthOf(Program.lines(readFileSync(join(folder.path, "busy.keys"), "utf8")), 6)
  })

  it("says in one line what is wrong, without showing a key, and changes nothing then", async () => {
    const key = (await sluice("key", "add", "usage.keys", "*")).stdout.trim()
    const before = readFileSync(join(folder.path, "usage.keys"), "utf8")
    for (const [args, words] of [
      [
        ["add", "usage.keys", "acme", "--scope", "send,admin"],
        '--scope: expected some of send,register,read, found "send,admin"'
      ],
      [["add", "usage.keys", "acme", "--scope", ""], "--scope: expected"],
      [
        ["add", "usage.keys", "acme", "--expires", "soon"],
        '--expires: expected a duration such as 1h or 90d, found "soon"'
      ],
      [["add", "usage.keys", "acme", "--expires", "0s"], "--expires: expected"],
      [["add", "usage.keys", "acme", "--expires", "999999d"], "--expires: expected"],
      [["add", "usage.keys", "a\nb"], "client: expected"],
      [["add", "usage.keys", ""], "client: expected"],
      [
        ["add", "usage.keys", "acme.de"],
        'client: expected a name of letters, digits, _ and -, without a dot, or * for all clients, found "acme.de"'
      ],
      [["add", "usage.keys", "a b"], "client: expected a name of letters, digits, _ and -"],
      [["add", "usage.keys", "**"], "client: expected a name of letters, digits, _ and -"],
      [["revoke", "usage.keys", key], "id: expected one that key ls usage.keys shows, found a whole key"],
      [["revoke", "usage.keys", "nobody"], 'found "nobody"'],
      [["rotate", "usage.keys", "nobody"], 'found "nobody"'],
      [["frob"], ""]
    ] as const) {
      const ended = await Program.run(folder.path, ["key", ...args])
      assert.strictEqual(ended.code, 2, `${args.join(" ")}: ${ended.stderr}`)
      assert.include(ended.stderr, words)
      assert.notInclude(ended.stderr, key.slice(-43))
      assert.notMatch(ended.stderr, /\n\s+at /)
    }
    assert.strictEqual(readFileSync(join(folder.path, "usage.keys"), "utf8"), before)
    writeFileSync(join(folder.path, "broken.keys"), before)
    appendFileSync(join(folder.path, "broken.keys"), "hush\n")
    for (const [args, words] of [
      [["ls", "missing.keys"], "missing.keys: there is no such file\n"],
      [["add", "broken.keys", "acme"], "broken.keys: line 2 is no key as sluice key add writes it\n"],
      [["add", "no/such/folder.keys", "acme"], "no/such/folder.keys: cannot be written (ENOENT)\n"]
    ] as const) {
      const ended = await Program.run(folder.path, ["key", ...args])
      assert.deepStrictEqual([ended.code, ended.stderr, ended.stdout], [1, words, ""])
    }
  })
})
