/** Queues of Azurite by Microsoft's client: the contract, every way to say who we are, faults of the wire, and the publisher. */
import { execFile } from "node:child_process"
import { createServer, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { promisify } from "node:util"
import {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  generateAccountSASQueryParameters,
  generateQueueSASQueryParameters,
  QueueClient,
  QueueSASPermissions,
  StorageSharedKeyCredential
} from "@azure/storage-queue"
import { Effect, Fiber, Schema, type Scope } from "effect"
import { afterAll, assert, beforeAll, describe, it, onTestFinished } from "vitest"
import * as AzureQueueClientSdk from "../../src/layers/AzureQueueClientSdk.ts"
import * as PublisherAzureQueue from "../../src/layers/PublisherAzureQueue.ts"
import { type AzureQueue, AzureQueueClient, type AzureQueueError } from "../../src/services/AzureQueue.ts"
import * as AzureQueueConnection from "../../src/services/AzureQueueConnection.ts"
import * as AzureQueueOptions from "../../src/streams/AzureQueueOptions.ts"
import * as Azurite from "../services/Azurite.ts"
import * as FaultProxy from "../services/FaultProxy.ts"
import * as AzureQueueSuite from "../suites/AzureQueueSuite.ts"
import * as PublisherSuite from "../suites/PublisherSuite.ts"
import * as Program from "./Program.ts"

const reason = await Azurite.available()
if (reason !== undefined) console.warn(`tests with Azurite are skipped: ${reason}`)
const noHttps = await Azurite.available({ secured: true })
if (noHttps !== undefined) console.warn(`tests of Azurite with tokens are skipped: ${noHttps}`)

const { fresh } = AzureQueueSuite
const layer = AzureQueueClientSdk.layer

/** A connection as a config would write it. */
const connectionOf = (options: object) =>
  Effect.runSync(
    Schema.decodeEffect(Schema.Struct(AzureQueueConnection.fields))(options).pipe(
      Effect.flatMap((decoded) => AzureQueueOptions.connectionOf(decoded))
    )
  )

const using = <A, E>(
  options: object,
  name: string,
  use: (queue: AzureQueue) => Effect.Effect<A, E, Scope.Scope>
): Promise<A> =>
  Effect.runPromise(
    AzureQueueClient.pipe(
      Effect.flatMap((client) => client.queue(connectionOf(options), name)),
      Effect.flatMap(use),
      Effect.scoped,
      Effect.provide(layer)
    )
  )

/** Why it fails. */
const failing = (options: object, name: string, ask: (queue: AzureQueue) => Effect.Effect<unknown, AzureQueueError>) =>
  using(options, name, (queue) => Effect.flip(ask(queue)))

const serve = async (listener: RequestListener) => {
  const server = createServer(listener)
  let open = 0
  let most = 0
  let made = 0
  server.on("connection", (socket) => {
    made++
    most = Math.max(most, ++open)
    socket.once("close", () => open--)
  })
  await new Promise<void>((listens) => server.listen(0, "127.0.0.1", listens))
  const close = () =>
    new Promise<void>((closed) => {
      server.close(() => closed())
      server.closeAllConnections()
    })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, most: () => most, made: () => made, close }
}

/** The same, until the test ends. */
const listen = async (listener: RequestListener) => {
  const server = await serve(listener)
  onTestFinished(server.close)
  return server
}

describe.skipIf(reason !== undefined)("Azurite", () => {
  let azurite: Azurite.Azurite
  beforeAll(async () => {
    azurite = await Azurite.start()
  })
  afterAll(() => azurite?.stop())

  AzureQueueSuite.suite(
    "AzureQueueClientSdk",
    layer,
    () => connectionOf({ connectionString: azurite.connectionString }),
    { time: "real" }
  )

  const carry = (queue: AzureQueue) =>
    Effect.gen(function* () {
      yield* queue.send("carried")
      const [received] = yield* queue.receive(1, 10)
      yield* queue.remove(received!)
      return received!.text
    })
  const byKey = () => new StorageSharedKeyCredential(azurite.account, azurite.key)
  const later = () => new Date(Date.now() + 3600_000)
  const accountSas = (permissions: string, expiresOn = later()) =>
    generateAccountSASQueryParameters(
      {
        services: AccountSASServices.parse("q").toString(),
        resourceTypes: AccountSASResourceTypes.parse("sco").toString(),
        permissions: AccountSASPermissions.parse(permissions),
        expiresOn
      },
      byKey()
    ).toString()
  const queueSas = (queueName: string, permissions: string) =>
    generateQueueSASQueryParameters(
      { queueName, permissions: QueueSASPermissions.parse(permissions), expiresOn: later() },
      byKey()
    ).toString()

  describe("lets in", () => {
    it("a connection string, a key, and a SAS of the account", async () => {
      const { account, connectionString, endpoint, key } = azurite
      const ways = [
        { connectionString },
        { endpoint, accountKey: key },
        { account, endpoint, sas: accountSas("rwdlacup") },
        { connectionString: `QueueEndpoint=${endpoint};SharedAccessSignature=${accountSas("rwdlacup")}` }
      ]
      for (const way of ways) {
        const text = await using(way, fresh(), (queue) => Effect.andThen(queue.create, carry(queue)))
        assert.strictEqual(text, "carried")
      }
    })

    it("a SAS of one queue, for what it allows", async () => {
      const name = fresh()
      await using({ connectionString: azurite.connectionString }, name, (queue) => queue.create)
      const options = { endpoint: azurite.endpoint, sas: `?${queueSas(name, "ap")}` }
      assert.strictEqual(await using(options, name, carry), "carried")
      const error = await failing({ endpoint: azurite.endpoint, sas: queueSas(name, "a") }, name, (queue) =>
        queue.receive(1, 1)
      )
      assert.strictEqual(error.trouble, "refused")
      assert.match(error.reason, /\(AuthorizationPermissionMismatch\)$/)
    })
  })

  /** Nothing of an error may tell a secret, however it is printed. */
  const silent = (error: AzureQueueError, ...secrets: ReadonlyArray<string>) => {
    const told = [error.reason, JSON.stringify(error), `${error.stack}`, String(error.cause)].join("\n")
    for (const secret of secrets) assert.notInclude(told, secret)
    assert.notMatch(told, /sig=[^<]|SharedKey [^<]|Bearer [^<]/)
    assert.notInclude(error.reason, "\n")
  }

  describe("refuses", () => {
    it("a wrong key, and the words have no key in them", async () => {
      const accountKey = Buffer.from("the wrong key").toString("base64")
      const error = await failing({ endpoint: azurite.endpoint, accountKey }, fresh(), (queue) => queue.receive(1, 1))
      assert.strictEqual(error.trouble, "refused")
      assert.match(error.reason, /^Server failed to authenticate the request.* \(AuthenticationFailed\)$/)
      silent(error, accountKey)
    })

    it("a SAS that has run out or was changed, and the words have no signature in them", async () => {
      const past = accountSas("rwdlacup", new Date(Date.now() - 3600_000))
      const forged = accountSas("r").replace("sp=r&", "sp=rwdlacup&")
      assert.include(forged, "sp=rwdlacup&")
      for (const sas of [past, forged]) {
        const error = await failing({ endpoint: azurite.endpoint, sas }, fresh(), (queue) => queue.create)
        assert.strictEqual(error.trouble, "refused")
        const signature = new URLSearchParams(sas).get("sig")!
        silent(error, signature, encodeURIComponent(signature))
      }
    })
  })

  describe("behind a wire with faults", () => {
    const proxied = async () => {
      const proxy = await FaultProxy.forTest(new URL(azurite.endpoint).origin)
      return { proxy, options: { connectionString: Azurite.through(azurite, proxy.url), requestTimeout: "2 seconds" } }
    }

    it("is away where nobody listens, where nobody answers in time, and where the connection breaks", async () => {
      const nobody = { endpoint: "http://127.0.0.1:1/dev", accountKey: azurite.key }
      const refused = await failing(nobody, "abc", (queue) => queue.receive(1, 1))
      assert.deepStrictEqual([refused.trouble, refused.reason], ["away", "connect ECONNREFUSED 127.0.0.1:1"])
      const { options, proxy } = await proxied()
      proxy.fail({ answer: "hang" })
      const short = { ...options, requestTimeout: "300 millis" }
      const late = await failing(short, "abc", (queue) => queue.receive(1, 1))
      assert.deepStrictEqual([late.trouble, late.reason], ["away", "no answer within 0.3 s"])
      proxy.fail({ answer: "reset" })
      const reset = await failing(options, "abc", (queue) => queue.send("secret text"))
      assert.strictEqual(reset.trouble, "away")
      silent(reset, "secret text", azurite.key)
      const sas = accountSas("rwdlacup")
      const broken = { endpoint: Azurite.through(azurite, proxy.url).match(/QueueEndpoint=([^;]+)/)![1], sas }
      proxy.fail({ answer: "reset" })
      silent(await failing(broken, "abc", (queue) => queue.receive(1, 1)), new URLSearchParams(sas).get("sig")!)
    })

    it("says what an answer means, asks once, and hears when to come again", async () => {
      const { options, proxy } = await proxied()
      const name = fresh()
      const xml = (code: string) => `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Words &amp; words.
RequestId:0d5e0c2b
Time:2026-01-01T00:00:00Z</Message></Error>`
      const answer = async (ask: "receive" | "send" | "create", spoilt: FaultProxy.Answer) => {
        const before = proxy.seen.length
        proxy.fail({ answer: spoilt })
        const { reason, retryAfterMillis, trouble } = await failing(
          options,
          name,
          (queue): Effect.Effect<unknown, AzureQueueError> =>
            ask === "receive" ? queue.receive(1, 1) : ask === "send" ? queue.send("a") : queue.create
        )
        assert.strictEqual(proxy.seen.length, before + 1)
        return [trouble, reason, ...(retryAfterMillis === undefined ? [] : [retryAfterMillis])]
      }
      assert.deepStrictEqual(
        await answer("receive", { status: 503, body: xml("ServerBusy"), headers: { "retry-after": "3" } }),
        ["away", "Words & words (ServerBusy)", 3000]
      )
      assert.deepStrictEqual(await answer("send", { status: 429, headers: { "retry-after": "1" } }), [
        "away",
        "HTTP status 429",
        1000
      ])
      assert.deepStrictEqual(await answer("send", { status: 500, body: "" }), ["away", "HTTP status 500"])
      assert.deepStrictEqual(await answer("receive", { status: 502, body: "<html><p>Bad <b>gateway</html>" }), [
        "away",
        "HTTP status 502"
      ])
      assert.deepStrictEqual(await answer("receive", { status: 408 }), ["away", "HTTP status 408"])
      assert.deepStrictEqual(await answer("create", { status: 409, body: xml("QueueBeingDeleted") }), [
        "missing",
        "Words & words (QueueBeingDeleted)"
      ])
      assert.deepStrictEqual((await answer("create", { status: 409, body: xml("QueueDisabled") }))[0], "refused")
      assert.deepStrictEqual((await answer("receive", { status: 403, body: xml("AccountIsDisabled") }))[0], "refused")
      assert.deepStrictEqual(await answer("receive", { status: 401 }), ["refused", "HTTP status 401"])
      assert.deepStrictEqual(await answer("receive", { status: 404 }), ["refused", "HTTP status 404"])
      assert.deepStrictEqual((await answer("send", { status: 400, body: xml("InvalidXmlDocument") }))[0], "unfit")
      assert.deepStrictEqual((await answer("send", { status: 400, body: xml("MessageTooLarge") }))[0], "unfit")
      assert.deepStrictEqual((await answer("send", { status: 400, body: xml("InvalidHeaderValue") }))[0], "refused")
      assert.deepStrictEqual(await answer("send", { status: 413 }), ["unfit", "HTTP status 413"])
      assert.deepStrictEqual(await answer("receive", { status: 200, body: "<html>welcome</html>" }), [
        "refused",
        "what answers is not a queue service"
      ])
      assert.deepStrictEqual(
        await using(options, name, (queue) => Effect.exit(queue.create)).then(({ _tag }) => _tag),
        "Success"
      )
      proxy.fail({ answer: { status: 409, body: xml("QueueAlreadyExists") } })
      await using(options, name, (queue) => queue.create)
    })

    it("shows no secret, not even one that the service says", async () => {
      const proxy = await FaultProxy.forTest(new URL(azurite.endpoint).origin)
      const endpoint = `${proxy.url}/${azurite.account}`
      const sas = accountSas("rwdlacup")
      const signature = new URLSearchParams(sas).get("sig")!
      const ways = [
        { way: { accountKey: azurite.key }, secret: azurite.key },
        { way: { sas }, secret: signature },
        { way: { sas }, secret: encodeURIComponent(signature) }
      ]
      for (const { secret, way } of ways) {
        const words = `The ${secret} at http://x/y?${sas} is wrong; SharedKey me:abc`
        const body = `<Error><Code>Odd</Code><Message>${words.replaceAll("&", "&amp;")}</Message></Error>`
        proxy.fail({ answer: { status: 400, body } })
        const error = await failing({ endpoint, ...way }, "abc", (queue) => queue.receive(1, 1))
        assert.strictEqual(error.reason, "The <secret> at http://x/y is wrong; SharedKey <secret> (Odd)")
        silent(error, secret)
      }
    })

    it("has done what it could not confirm", async () => {
      const { options, proxy } = await proxied()
      await using(options, fresh(), (queue) =>
        Effect.gen(function* () {
          yield* queue.create
          yield* queue.send("a")
          const [a] = yield* queue.receive(1, 60)
          const lost = { method: "DELETE", path: /\/messages\//, forward: true, answer: "reset" } as const
          proxy.fail(lost)
          assert.strictEqual((yield* Effect.flip(queue.remove(a!))).trouble, "away")
          yield* Effect.promise(() => proxy.struck(lost))
          assert.strictEqual((yield* Effect.flip(queue.remove(a!))).trouble, "lost")
        })
      )
    })

    it("gets carriage returns as references, since XML makes line feeds of bare ones", async () => {
      let body = ""
      const { url } = await listen((incoming, outgoing) => {
        incoming.setEncoding("utf8").on("data", (text) => {
          body += text
        })
        incoming.on("end", () =>
          outgoing.writeHead(201, { "content-type": "application/xml" }).end("<QueueMessagesList/>")
        )
      })
      await using({ endpoint: `${url}/dev`, accountKey: azurite.key }, "abc", (queue) => queue.send("a\r\nb <&>"))
      assert.include(body, "<MessageText>a&#xD;\nb &lt;&amp;&gt;</MessageText>")
    })

    it("is told no more of a request that was interrupted", async () => {
      let gone = 0
      const { url } = await listen((incoming) => incoming.socket.once("close", () => gone++))
      await using({ endpoint: `${url}/dev`, accountKey: azurite.key }, "abc", (queue) =>
        Effect.gen(function* () {
          const asking = yield* Effect.forkChild(queue.receive(1, 1))
          yield* Effect.sleep(300)
          yield* Fiber.interrupt(asking)
          yield* Effect.sleep(100)
          assert.strictEqual(gone, 1)
        })
      )
    })

    it("gets at most 64 connections, and the same ones again", async () => {
      const { made, most, url } = await listen((incoming, outgoing) => {
        incoming.resume()
        setTimeout(() => outgoing.writeHead(204).end(), 30)
      })
      await using({ endpoint: `${url}/dev`, accountKey: azurite.key }, "abc", (queue) =>
        Effect.gen(function* () {
          yield* Effect.forEach(Array.from({ length: 200 }), () => queue.create, { concurrency: 200 })
          assert.strictEqual(most(), 64)
          for (let i = 0; i < 5; i++) yield* queue.create
          assert.strictEqual(made(), 64)
        })
      )
    })
  })

  // -------------------------------------------------------------------------------------------------- the publisher

  const peek = async (name: string) => {
    const client = new QueueClient(`${azurite.endpoint}/${name}`, byKey())
    const { peekedMessageItems } = await client.peekMessages({ numberOfMessages: 32 })
    return peekedMessageItems.map(({ messageText }) => messageText)
  }

  PublisherSuite.suite(
    "PublisherAzureQueue on Azurite",
    Effect.gen(function* () {
      const queue = fresh()
      const connection = connectionOf({ connectionString: azurite.connectionString })
      const publisher = yield* PublisherAzureQueue.make({ connection, queue, create: true })
      // There is nothing to read until the first message has made the queue.
      return { publisher, read: Effect.promise(() => peek(queue)) }
    }),
    layer
  )

  it("fills a queue from the command line, and makes it first", async () => {
    const name = fresh("out")
    const folder = Program.folder({
      "c.yaml": [
        "pipelines:",
        "  lines:",
        "    source: { type: stdin }",
        "    decode: { type: text }",
        `    publish: [{ type: azure-queue, queue: ${name}, encoding: base64, connectionString: "\${CONNECTION}" }]`,
        ""
      ].join("\n")
    })
    onTestFinished(folder.remove)
    const env = { CONNECTION: azurite.connectionString, LOG_LEVEL: "debug" }
    const ended = await Program.run(folder.path, ["c.yaml"], { stdin: "a\nb\nc\n", env })
    assert.strictEqual(ended.code, 0, ended.stderr)
    const texts = (await peek(name)).map((text) => Buffer.from(text, "base64").toString())
    assert.deepStrictEqual(texts.sort(), ["a", "b", "c"])
    assert.notInclude(ended.stderr + ended.stdout, azurite.key)
  })
})

describe.skipIf(reason !== undefined || noHttps !== undefined).concurrent("Azurite with tokens", () => {
  let azurite: Azurite.Azurite
  beforeAll(async () => {
    azurite = await Azurite.start({ secured: true })
  })
  afterAll(() => azurite?.stop())

  /** Not signed by anybody: Azurite looks at audience and time alone. */
  const tokenOf = (claims: object): string => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
    const now = Math.floor(Date.now() / 1000)
    const iss = "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/"
    const all = { aud: "https://storage.azure.com", iss, iat: now - 60, nbf: now - 60, exp: now + 3600, ...claims }
    return `${part({ alg: "RS256", typ: "JWT" })}.${part(all)}.${Buffer.from("signature").toString("base64url")}`
  }

  interface Line {
    readonly before?: ReadonlyArray<string>
    readonly after?: ReadonlyArray<string>
    readonly text?: string
    readonly trouble?: string
    readonly reason?: string
  }

  /** Runs the child where managed identity is what `answer` says. */
  const child = async (answer: RequestListener) => {
    const asked: Array<string> = []
    const { close, url } = await serve((incoming, outgoing) => {
      asked.push(incoming.url!)
      answer(incoming, outgoing)
    })
    const { PATH = "", HOME = "" } = process.env
    const env = {
      PATH,
      HOME,
      NODE_EXTRA_CA_CERTS: azurite.certificate!,
      IDENTITY_ENDPOINT: `${url}/msi/token`,
      IDENTITY_HEADER: "secret-header",
      AZURE_QUEUE_ENDPOINT: azurite.endpoint
    }
    const script = join(import.meta.dirname, "AzureQueueChild.ts")
    try {
      const { stderr, stdout } = await promisify(execFile)(process.execPath, [script], { env })
      return { asked, stderr, stdout, lines: Program.lines(stdout).map((line) => JSON.parse(line) as Line) }
    } finally {
      await close()
    }
  }
  const giving =
    (token: string): RequestListener =>
    (_, outgoing) => {
      const expires_on = `${Math.floor(Date.now() / 1000) + 3600}`
      const body = { access_token: token, expires_on, resource: "https://storage.azure.com", token_type: "Bearer" }
      outgoing.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body))
    }

  it("lets in who has a token by DefaultAzureCredential; it is asked for once, and the packages are loaded late", async () => {
    const { asked, lines, stderr } = await child(giving(tokenOf({})))
    assert.deepStrictEqual(lines, [
      { before: [], start: "function" },
      { text: "to devstoreaccount1/first" },
      { text: "to devstoreaccount1/second" },
      { after: ["@azure/identity", "@azure/storage-queue"] }
    ] as ReadonlyArray<object>)
    assert.deepStrictEqual(asked, ["/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com"])
    assert.strictEqual(stderr, "")
  })

  it("refuses a token for somebody else, and the words have no token in them", async () => {
    const token = tokenOf({ aud: "https://example.com" })
    const { lines, stderr, stdout } = await child(giving(token))
    const [, { reason, trouble }] = lines as [Line, Line]
    assert.strictEqual(trouble, "refused", stdout)
    assert.match(reason!, /\((?:AuthenticationFailed|InvalidAuthenticationInfo)\)$/)
    assert.notInclude(stdout + stderr, token.split(".")[1]!)
  })

  it("is refused where nobody gives us a token, in one line that says who was asked", async () => {
    const { lines, stdout } = await child((_, outgoing) => {
      const body = { error: "invalid_request", error_description: "Identity not found" }
      outgoing.writeHead(400, { "content-type": "application/json" }).end(JSON.stringify(body))
    })
    const [, { reason, trouble }] = lines as [Line, Line]
    assert.strictEqual(trouble, "refused", stdout)
    assert.match(reason!, /^no token: EnvironmentCredential is unavailable; .*Identity not found/)
    assert.notMatch(reason!, /\n|secret-header/)
  })

  // The vendor asks for a token six times before it gives up.
  it("is away where whoever gives us tokens is", async () => {
    const { asked, lines, stdout } = await child((incoming) => incoming.socket.destroy())
    const [, { reason, trouble }] = lines as [Line, Line]
    assert.strictEqual(trouble, "away", stdout)
    assert.match(reason!, /ManagedIdentityCredential: Network unreachable|^no answer within 60 s$/)
    assert.isAbove(asked.length, 1)
  })
})
