/** The kafka source and publisher on secured listeners: TLS, SASL, what they say when it does not fit, and never a secret. */
import { execFile } from "node:child_process"
import { once } from "node:events"
import { readFileSync, writeFileSync } from "node:fs"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import { afterAll, afterEach, assert, beforeAll, describe, it, onTestFinished } from "vitest"
import * as Kafka from "./Kafka.ts"
import * as Program from "./Program.ts"

const run = promisify(execFile)
const noOpenssl = await run("openssl", ["version"]).then(
  () => undefined,
  () => "there is no openssl here to make certificates"
)
if (noOpenssl !== undefined) console.warn(`tests of a secured Kafka are skipped: ${noOpenssl}`)

/** None of them may ever be shown. */
const secrets = {
  plain: "pw-of-plain",
  scram: "pw-of-scram",
  wrong: "pw-of-nobody",
  passphrase: "pw-of-the-key",
  client: "pw/of the+client",
  url: "pw-in-the-url"
}
const encodedClient = encodeURIComponent(secrets.client).replaceAll("%20", "+")
const basic = Buffer.from(`sluice:${encodedClient}`).toString("base64")

/** An unsecured token, as Kafka's validator for development takes it. */
const tokenOf = (seconds: number): string => {
  const now = Math.floor(Date.now() / 1000)
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  return `${part({ alg: "none" })}.${part({ sub: "me", iat: now - 10, exp: now + seconds })}.`
}

const skipped = Kafka.reason !== undefined || noOpenssl !== undefined
describe.skipIf(skipped)("a secured kafka", { timeout: 120_000 }, () => {
  let kit: Kafka.Kit
  let certificates: Certificates
  beforeAll(async () => {
    certificates = await makeCertificates()
    kit = await Kafka.open(secured(certificates))
    // A coordinator that is only beginning is an outage, too.
    const topic = await kit.topic("first", 1)
    for (let i = 0; i < 8; i++) await kit.noted(Kafka.fresh("first"), topic)
  }, 120_000)
  afterAll(async () => {
    await kit?.close()
    certificates?.remove()
  })

  const outputs: Array<() => string> = []
  const granted: Array<string> = []
  afterEach(() => {
    const shown = outputs.map((output) => output()).join("\n")
    outputs.length = 0
    const keys = [...certificates.keys, ...granted.splice(0), basic, encodedClient, ...Object.values(secrets)]
    for (const secret of keys) assert.notInclude(shown, secret)
    assert.notMatch(shown, /\n\s+at |PRIVATE KEY/)
  })

  const start = (config: object | string, options: Parameters<typeof Kafka.sluice>[1] = {}) => {
    const running = Kafka.sluice(config, { ...options, env: { LOG_LEVEL: "debug", ...options.env } }).start()
    outputs.push(running.stdout, running.stderr)
    return running
  }
  const at = (listener: string, host = "127.0.0.1") => `${host}:${kit.cluster.nodes[0]!.ports[listener]}`

  /** A pipeline from a topic to another for each connection. */
  const piping = async (...connections: ReadonlyArray<object>) => {
    const pipes = await Promise.all(
      connections.map(async (connection, i) => {
        const [topic, out, group] = [await kit.topic("in", 1), await kit.topic("out", 1), Kafka.fresh("group")]
        const source = { type: "kafka", topic, group, ...connection }
        return { name: `way-${i}`, topic, out, pipeline: { source, publish: [{ type: "kafka", topic: out }] } }
      })
    )
    const pipelines = Object.fromEntries(pipes.map(({ name, pipeline }) => [name, pipeline]))
    return { pipes, config: { restarts: { max: 1, within: "1 minute" }, pipelines } }
  }
  type Piping = Awaited<ReturnType<typeof piping>>

  const sent = ({ pipes }: Piping) => Promise.all(pipes.map(({ topic }) => kit.send(topic, Kafka.numbered(20, 4))))
  const arrived = ({ pipes }: Piping, size = 20) =>
    Kafka.until("all is published", async () => {
      for (const { out } of pipes) if ((await kit.size(out)) < size) return false
      return true
    })

  /** Carries records through each with nothing to complain about. */
  const carry = async (...connections: ReadonlyArray<object>) => {
    const all = await piping(...connections)
    await sent(all)
    const running = start(all.config)
    await arrived(all)
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(Kafka.warnings(running.lines()), [])
  }

  /** Gives up after its restart, and says why in the same words both times. */
  const refused = async (connection: object, reason: RegExp) => {
    const running = start((await piping(connection)).config)
    const ended = await running.ended
    assert.strictEqual(ended.code, 1, ended.stderr)
    const messages = Kafka.warnings(running.lines()).map(({ message }) => message)
    assert.strictEqual(messages.length, 2, ended.stderr)
    for (const message of messages) assert.match(message, reason)
    assert.match(messages[0]!, /: starting again in 0\.2 s$/)
    assert.match(messages[1]!, /: failed 2 times within 60 s, giving up$/)
  }

  /** Keep trying, and say why once. */
  const away = async (...ways: ReadonlyArray<readonly [connection: object, reason: RegExp]>) => {
    const running = start((await piping(...ways.map(([connection]) => connection))).config)
    for (const [i, [, reason]] of ways.entries()) {
      const [, said] = await running.says(new RegExp(`way-${i}: outage: ([^"]+)`))
      assert.match(said!, reason)
    }
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.strictEqual(Kafka.warnings(running.lines()).length, ways.length, ended.stderr)
  }

  // -------------------------------------------------------------------------------------------------- TLS

  it("is reached by TLS with its own CA, by address and by name, or with less checked", async () => {
    const { file } = certificates
    const ca = file("ca.pem")
    await carry(
      { brokers: at("TLS"), tls: { ca } },
      { brokers: at("TLS", "localhost"), tls: { ca: readFileSync(ca, "utf8") } },
      { brokers: at("TLS"), tls: { verify: false } },
      { brokers: at("NAMED"), tls: { ca, verifyHost: false } },
      { brokers: at("MUTUAL"), tls: { ca, cert: file("client.pem"), key: file("client.key") } },
      { brokers: at("MUTUAL"), tls: { ca, pfx: file("client.pfx"), passphrase: secrets.passphrase } }
    )
  })

  it("is an outage that names what is wrong with a certificate", async () => {
    const ca = certificates.file("ca.pem")
    const unknown = /^Connection error: (self-signed certificate in certificate chain|unable to verify)/
    await away(
      [{ brokers: at("TLS"), tls: true }, unknown],
      [{ brokers: at("NAMED"), tls: { verifyHost: false } }, unknown],
      [{ brokers: at("NAMED"), tls: { ca } }, /IP: 127\.0\.0\.1 is not in the cert's list/],
      [{ brokers: at("MUTUAL"), tls: { ca } }, /^Connection error: ssl\/tls alert bad certificate$/]
    )
  })

  it("is refused with one sentence when a key cannot be opened", async () => {
    const { file } = certificates
    const tls = { ca: file("ca.pem"), pfx: file("client.pfx"), passphrase: secrets.wrong }
    await refused({ brokers: at("MUTUAL"), tls }, /the certificate or key cannot be used: mac verify failure/)
  })

  // -------------------------------------------------------------------------------------------------- SASL

  const password = (mechanism: string, password: string, listener = "PASSWORDS") => ({
    brokers: at(listener),
    sasl: { mechanism, username: "me", password }
  })

  it("lets in by PLAIN and SCRAM", async () => {
    await carry(
      password("plain", secrets.plain),
      password("scram-sha-256", secrets.scram),
      password("scram-sha-512", secrets.scram)
    )
  })

  it("refuses a wrong password, and a mechanism it does not have, in one sentence", async () => {
    const words = /SASL PLAIN authentication failed: Authentication failed: Invalid username or password/
    const invalid =
      /SASL SCRAM SHA256 authentication failed: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256/
    await Promise.all([
      refused(password("plain", secrets.wrong), words),
      refused(password("scram-sha-256", secrets.wrong), invalid),
      refused(
        { ...password("plain", secrets.wrong, "BOTH"), tls: { ca: certificates.file("ca.pem") } },
        /The broker does not support the requested SASL mechanism/
      )
    ])
  })

  it("is an outage when the connection breaks while it logs in", async () => {
    const broker = kit.cluster.nodes[0]!.ports.PASSWORDS!
    // Versions, the handshake, and then the password that gets no answer.
    const proxy = await listening((client) => {
      const server = connect(broker, "127.0.0.1")
      let requests = 0
      client.on("data", (bytes) => (++requests < 3 ? server.write(bytes) : client.destroy()))
      server.on("data", (bytes) => client.write(bytes))
      client.on("close", () => server.destroy())
      for (const socket of [client, server]) socket.on("error", () => {})
    })
    const broken = { ...password("plain", secrets.plain), brokers: proxy }
    const other = { ...password("scram-sha-256", secrets.scram), brokers: proxy }
    await away([broken, /^Closed connection$/], [other, /^Closed connection$/])
  })

  it("says why a publisher is refused", async () => {
    const { brokers, sasl } = password("plain", secrets.wrong)
    const source = { type: "generate", rate: 100, count: 2, payload: { n: "{{n}}" } }
    const publish = [{ type: "kafka", brokers, sasl, topic: await kit.topic("out", 1) }]
    const running = start({ pipelines: { work: { source, publish } } })
    await running.says(/SASL PLAIN authentication failed: Authentication failed: Invalid username or password/)
    await running.stop()
  })

  // -------------------------------------------------------------------------------------------------- tokens

  /** A token endpoint, which grants tokens for so many seconds unless it is told otherwise. */
  const identity = async (seconds: number, answer?: (calls: number) => Kafka.Answer | undefined) => {
    let open = 0
    let together = 0
    const endpoint = await Kafka.endpoint(async () => {
      together = Math.max(together, ++open)
      await sleep(200)
      open--
      const token = tokenOf(seconds)
      granted.push(token)
      const grant = { access_token: token, token_type: "bearer", expires_in: seconds }
      return answer?.(endpoint.calls.length) ?? { body: JSON.stringify(grant) }
    })
    const credentials = { tokenUrl: endpoint.url, clientId: "sluice", clientSecret: secrets.client, scope: "kafka" }
    const connection = { brokers: at("TOKENS"), sasl: { mechanism: "oauthbearer", ...credentials } }
    return { calls: endpoint.calls, connection, together: () => together }
  }
  const given = (token: string) => {
    granted.push(token)
    return { brokers: at("TOKENS"), sasl: { mechanism: "oauthbearer", token } }
  }

  it("lets in by a token that is given, and refuses one that has run out", async () => {
    await Promise.all([
      carry(given(tokenOf(3600))),
      refused(given(tokenOf(-3600)), /the broker refuses the token: invalid_token/)
    ])
  })

  it("gets one token for all its connections from the endpoint, by client credentials", async () => {
    const { calls, connection } = await identity(3600)
    await carry(connection)
    assert.strictEqual(calls.length, 1)
    const [{ body, headers, method }] = calls as [Kafka.Call]
    assert.strictEqual(method, "POST")
    assert.strictEqual(headers.authorization, `Basic ${basic}`)
    assert.strictEqual(String(body), "grant_type=client_credentials&scope=kafka")
  })

  it("goes on with new tokens when they run out", async () => {
    const { calls, connection, together } = await identity(4)
    const all = await piping(connection)
    const running = start(all.config)
    await sent(all)
    await arrived(all)
    // The publisher has nothing to say until its session has run out.
    await sleep(5000)
    await sent(all)
    await arrived(all, 40)
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(Kafka.warnings(running.lines()), [])
    assert.isAtLeast(calls.length, 2)
    assert.isAtMost(calls.length, 8)
    assert.strictEqual(together(), 1)
  })

  it("waits for a token endpoint that is away, and gives up when it refuses", async () => {
    const gone = (await identity(3600)).connection
    const silent = await listening((client) => client.destroy())
    const tokenUrl = `http://me:${secrets.url}@${silent}/token?key=${secrets.url}`
    const echo = JSON.stringify({ error: "invalid_client", error_description: `no ${secrets.client} here` })
    const denied = await identity(3600, () => ({ status: 401, body: echo }))
    const busy = await identity(3600, (calls) => (calls < 12 ? { status: 503, body: echo } : undefined))
    await Promise.all([
      away([
        { ...gone, sasl: { ...gone.sasl, tokenUrl } },
        /^no token: http:\/\/127\.0\.0\.1:\d+\/token cannot be reached: .+/
      ]),
      refused(denied.connection, /no token: http:\/\/127\.0\.0\.1:\d+\/work answered 401: invalid_client/),
      (async () => {
        const all = await piping(busy.connection)
        await sent(all)
        const running = start(all.config)
        await running.says(/outage: no token: http:\S+ answered 503: invalid_client/)
        await running.says(/outage over/)
        await arrived(all)
        assert.strictEqual((await running.stop()).code, 0)
        assert.strictEqual(Kafka.warnings(running.lines()).length, 1, running.stderr())
      })()
    ])
  })

  // -------------------------------------------------------------------------------------------------- eventor

  it("runs a config of eventor with TLS and SASL", async () => {
    const [topic, out, group] = [await kit.topic("in", 1), await kit.topic("out", 1), Kafka.fresh("group")]
    await kit.send(topic, Kafka.numbered(20, 4))
    const endpoint = await Kafka.endpoint(({ body }) => ({ body }))
    const connection = `
      bootstrap.servers: ${at("BOTH", "localhost")}
      security.protocol: SASL_SSL
      sasl.mechanisms: SCRAM-SHA-512
      sasl.username: me
      sasl.password: \${PASSWORD}
      ssl.ca.location: ${certificates.file("ca.pem")}
      ssl.endpoint.identification.algorithm: https`
    const config = `
- name: secured
  logLevel: 0
  eventListener:
    type: kafka
    topic: ${topic}
    consumerConfig:${connection}
      group.id: ${group}
      auto.offset.reset: earliest
      enable.auto.commit: false
  eventHandler:
    type: http
    url: ${endpoint.url}
  eventResultProcessor:
    type: kafka
    topic: ${out}
    when: [onSuccess]
    producerConfig:${connection}
`
    const running = start(config, { args: ["-f"], env: { PASSWORD: secrets.scram } })
    await Kafka.until("all is published", async () => (await kit.size(out)) >= 20)
    const ended = await running.stop()
    assert.strictEqual(ended.code, 0, ended.stderr)
    assert.deepStrictEqual(Kafka.warnings(running.lines()), [])
  })
})

/** A server that ends with its test; its address comes back. */
const listening = async (take: (socket: Socket) => void): Promise<string> => {
  const server = createServer(take).listen(0, "127.0.0.1")
  await once(server, "listening")
  onTestFinished(() => void server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

// ---------------------------------------------------------------------------------------------------- the broker

/** Each way in is a listener. */
const secured = ({ file }: Certificates): Parameters<typeof Kafka.open>[0] => {
  const login = "org.apache.kafka.common.security"
  const keystore = (listener: string, name: string) => ({
    [`listener.name.${listener}.ssl.keystore.type`]: "PEM",
    [`listener.name.${listener}.ssl.keystore.location`]: file(name)
  })
  return {
    brokers: 1,
    listeners: {
      TLS: "SSL",
      NAMED: "SSL",
      MUTUAL: "SSL",
      PASSWORDS: "SASL_PLAINTEXT",
      TOKENS: "SASL_PLAINTEXT",
      BOTH: "SASL_SSL"
    },
    scram: { me: secrets.scram },
    properties: {
      ...keystore("tls", "broker.keystore"),
      ...keystore("named", "elsewhere.keystore"),
      ...keystore("mutual", "broker.keystore"),
      ...keystore("both", "broker.keystore"),
      "listener.name.mutual.ssl.client.auth": "required",
      "listener.name.mutual.ssl.truststore.type": "PEM",
      "listener.name.mutual.ssl.truststore.location": file("ca.pem"),
      "listener.name.passwords.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
      "listener.name.passwords.plain.sasl.jaas.config": `${login}.plain.PlainLoginModule required user_me="${secrets.plain}";`,
      "listener.name.passwords.scram-sha-256.sasl.jaas.config": `${login}.scram.ScramLoginModule required;`,
      "listener.name.passwords.scram-sha-512.sasl.jaas.config": `${login}.scram.ScramLoginModule required;`,
      "listener.name.both.sasl.enabled.mechanisms": "SCRAM-SHA-512",
      "listener.name.both.scram-sha-512.sasl.jaas.config": `${login}.scram.ScramLoginModule required;`,
      "listener.name.tokens.sasl.enabled.mechanisms": "OAUTHBEARER",
      "listener.name.tokens.oauthbearer.sasl.jaas.config": `${login}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
      "listener.name.tokens.oauthbearer.connections.max.reauth.ms": "3600000"
    }
  }
}

interface Certificates {
  readonly file: (name: string) => string
  /** What must never be shown of them. */
  readonly keys: ReadonlyArray<string>
  readonly remove: () => void
}

/** A CA, a broker's certificate by it, one of another name, and a client's. */
const makeCertificates = async (): Promise<Certificates> => {
  const folder = Program.folder({ "openssl.conf": "[req]\ndistinguished_name = name\n[name]\n" })
  const file = (name: string) => join(folder.path, name)
  const openssl = (...args: ReadonlyArray<string>) => run("openssl", args, { cwd: folder.path })
  const certificate = async (name: string, ...extensions: ReadonlyArray<string>) => {
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`]
    const ca = name === "ca" ? [] : ["-CA", "ca.pem", "-CAkey", "ca.key"]
    const more = extensions.flatMap((extension) => ["-addext", extension])
    const subject = ["-subj", `/CN=${name}`, "-days", "2", "-config", "openssl.conf"]
    await openssl("req", "-x509", ...key, ...subject, ...ca, ...more, "-out", `${name}.pem`)
    const [pem, secret] = [`${name}.pem`, `${name}.key`].map((one) => readFileSync(file(one), "utf8"))
    writeFileSync(file(`${name}.keystore`), `${secret}${pem}`)
    return secret!.split("\n")[1]!
  }
  const keys = [
    await certificate("ca", "basicConstraints=critical,CA:TRUE"),
    await certificate("broker", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
    await certificate("elsewhere", "subjectAltName=DNS:elsewhere.example"),
    await certificate("client", "extendedKeyUsage=clientAuth")
  ]
  const pfx = ["-in", "client.pem", "-inkey", "client.key", "-passout", `pass:${secrets.passphrase}`]
  await openssl("pkcs12", "-export", ...pfx, "-out", "client.pfx")
  return { file, keys, remove: folder.remove }
}
