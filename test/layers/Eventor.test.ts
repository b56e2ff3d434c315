/** Eventor's configs: what each of their words becomes, and the sentences for wrong ones. */
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Random } from "effect"
import * as Config from "../../src/layers/Config.ts"
import { ConfigError, parse } from "../../src/layers/ConfigFile.ts"
import * as Eventor from "../../src/layers/Eventor.ts"
import * as EventorKafka from "../../src/layers/EventorKafka.ts"
import { known } from "../../src/layers/EventorProperties.ts"
import type * as Translation from "../../src/layers/Translation.ts"

const sample = readFileSync(resolve(import.meta.dirname, "../../config/eventor.yaml"), "utf8")

type Environment = Readonly<Record<string, string>>

const translate = (text: string, environment: Environment = {}) => {
  const file = parse("x.yaml", text, environment)
  if (file instanceof ConfigError) throw file
  return Eventor.translate(file, text)
}

const translated = (text: string, environment: Environment = {}): Translation.Translated => {
  const result = translate(text, environment)
  if (result instanceof ConfigError) throw result
  if (result === undefined) throw new Error("not taken for eventor's")
  return result
}

/** The pipelines, as plain values whose shape each test knows. */
const pipelines = (text: string, environment: Environment = {}): Record<string, any> =>
  (translated(text, environment).value as { pipelines: Record<string, any> }).pipelines

/** What a user reads: the lines of the error, or of the warnings. */
const said = (text: string, environment: Environment = {}): ReadonlyArray<string> => {
  const result = translate(text, environment)
  if (result instanceof ConfigError) return result.message.split("\n")
  return new ConfigError({ findings: result?.warnings ?? [] }).message.split("\n").filter((line) => line !== "")
}

interface Parts {
  readonly entry?: string
  readonly listener?: string
  readonly consumer?: string
  readonly handler?: string
  readonly processor?: string
  readonly producer?: string
}

/** A whole entry, with what a test adds to its parts. */
const config = ({ consumer, entry, handler, listener, processor, producer }: Parts = {}): string =>
  `- name: a
  loglevel: 1
${entry === undefined ? "" : `  ${entry}\n`}  eventListener:
    type: kafka
    topic: in
${listener === undefined ? "" : `    ${listener}\n`}    consumerConfig:
      bootstrap.servers: localhost
      group.id: g
${consumer === undefined ? "" : `      ${consumer}\n`}  eventHandler:
    type: http
    url: http://localhost:8080/payload
${handler === undefined ? "" : `    ${handler}\n`}  eventResultProcessor:
    type: kafka
    topic: out
${processor === undefined ? "" : `    ${processor}\n`}    producerConfig:
      bootstrap.servers: localhost
${producer === undefined ? "" : `      ${producer}\n`}`

const only = (parts: Parts = {}): any => pipelines(config(parts)).a
const source = (...lines: ReadonlyArray<string>): any => only({ consumer: lines.join("\n      ") }).source
const publisher = (...lines: ReadonlyArray<string>): any => only({ producer: lines.join("\n      ") }).publish[0]

describe("Eventor", () => {
  it("translates the sample of its README", () => {
    const { value, warnings } = translated(sample)
    assert.deepStrictEqual(warnings, [])
    assert.deepStrictEqual(value, {
      pipelines: {
        "MY_FIRST_TOPIC-to-MY_RESPONSE_TOPIC": {
          log: { level: "debug", lines: "eventor" },
          source: {
            type: "kafka",
            topic: "MY_FIRST_TOPIC",
            brokers: ["localhost:9092", "127.0.0.1:9092"],
            group: "myVeryFirstGroup",
            from: "earliest"
          },
          decode: { type: "bytes" },
          unkeyed: "partition",
          dispatch: [
            {
              type: "http",
              method: "POST",
              url: "http://localhost:8080/payload",
              headers: { "Content-Type": "application/text", Authorization: "Basic ..." },
              timeout: "5 minutes",
              redirects: 10,
              responseMax: 8_388_608,
              retryOn: ["5xx"],
              acceptRedirects: true,
              spent: "refuse"
            }
          ],
          publish: [
            {
              type: "kafka",
              topic: "MY_RESPONSE_TOPIC",
              brokers: ["localhost:9092"],
              acks: "all",
              headers: [],
              key: "none",
              when: ["accepted"]
            }
          ]
        }
      }
    })
  })

  it("takes only a list of eventor's parts for eventor's", () => {
    for (const text of ["pipelines: {}", "[]", "- 1\n- a", "- { name: a }", "", "eventListener: {}"]) {
      assert.isUndefined(translate(text), text)
    }
    assert.instanceOf(translate("- { eventlistener: {} }"), ConfigError)
  })

  it("names a pipeline as its entry, or by number, and no two alike", () => {
    const text = ["name: a", "name: a", "loglevel: 0", "name: 7", 'name: " x:y!"', "name: ''", "name: ':'"]
      .map((line) => config().replace("name: a\n", `${line}\n`))
      .map((text) => text.replace("  loglevel: 1\n", ""))
      .join("")
    assert.sameMembers(Object.keys(pipelines(text)), ["a", "a.2", "eventor.3", "7", "x-y-", "eventor.6", "eventor.7"])
    assert.deepStrictEqual(
      said(text).map((line) => line.replace(/^x\.yaml:\d+:\d+: /, "")),
      [
        '1.name: this pipeline is called "a.2"',
        '4.name: this pipeline is called "x-y-"',
        '6.name: this pipeline is called "eventor.7"'
      ]
    )
  })

  it("reads logLevel and loglevel, and is at debug without them", () => {
    const level = (line: string) => pipelines(config().replace("loglevel: 1", line)).a.log.level
    assert.deepStrictEqual(
      ["loglevel: 0", "logLevel: 1", "loglevel: 2", "logLevel: '3'", "logLevel: null"].map(level),
      ["debug", "info", "warn", "error", "debug"]
    )
    assert.deepStrictEqual(said(config().replace("loglevel: 1", "logLevel: debug")), [
      'x.yaml:2:13: 0.logLevel: expected 0 (debug), 1 (info), 2 (warn) or 3 (error), found "debug"'
    ])
  })

  it("publishes when it is told to", () => {
    const publish = (when: string | undefined) =>
      only(when === undefined ? {} : { processor: when }).publish.map(({ when }: any) => when)
    assert.deepStrictEqual(publish(undefined), [["accepted", "refused"]])
    assert.deepStrictEqual(publish("when:"), [["accepted", "refused"]])
    assert.deepStrictEqual(publish("when: []"), [["accepted", "refused"]])
    assert.deepStrictEqual(publish("when: [onSuccess]"), [["accepted"]])
    assert.deepStrictEqual(publish("when: [onError]"), [["refused"]])
    assert.deepStrictEqual(publish("when: [onError, onSuccess]"), [["accepted", "refused"]])
    assert.deepStrictEqual(publish("when: [onsuccess, 7]"), [])
    assert.deepStrictEqual(said(config({ processor: "when: [onsuccess]" })), [
      'x.yaml:15:12: 0.eventResultProcessor.when.0: "onsuccess" is neither onSuccess nor onError, and has no effect (did you mean onSuccess?)'
    ])
    assert.deepStrictEqual(said(config({ processor: "when: onSuccess" })), [
      'x.yaml:15:11: 0.eventResultProcessor.when: expected a list of onSuccess and onError, found "onSuccess"'
    ])
    const none = config().slice(0, config().indexOf("  eventResultProcessor:"))
    assert.deepStrictEqual(pipelines(none).a.publish, [])
    assert.deepStrictEqual(pipelines(`${none}  eventResultProcessor:\n`).a.publish, [])
  })

  it("calls with the method it is told, GET by default, and always with the bytes as they came", () => {
    const call = (handler?: string) => {
      const { body, method } = only(handler === undefined ? {} : { handler }).dispatch[0]
      return [method, body]
    }
    assert.deepStrictEqual(call(), ["GET", "envelope.payload"])
    assert.deepStrictEqual(call("method: ''"), ["GET", "envelope.payload"])
    for (const method of ["GET", "HEAD", "DELETE"])
      assert.deepStrictEqual(call(`method: ${method}`), [method, "envelope.payload"])
    for (const method of ["POST", "PUT", "PATCH"])
      assert.deepStrictEqual(call(`method: ${method}`), [method, undefined])
    assert.deepStrictEqual(said(config({ handler: "method: post" })), [
      'x.yaml:12:13: 0.eventHandler.method: expected one of POST, PUT, PATCH, DELETE, GET, HEAD, found "post" (did you mean POST?)'
    ])
    assert.deepStrictEqual(said(config({ handler: "method: OPTIONS" })), [
      'x.yaml:12:13: 0.eventHandler.method: expected one of POST, PUT, PATCH, DELETE, GET, HEAD, found "OPTIONS"'
    ])
  })

  it("keeps headers to the byte, whatever YAML takes them for", () => {
    const headers = (text: string, environment: Environment = {}) =>
      pipelines(config({ handler: `headers: ${text}` }), environment).a.dispatch[0].headers
    const plain = { "Content-Type": "application/text" }
    assert.deepStrictEqual(headers("{}"), plain)
    assert.deepStrictEqual(headers("{ Content-Type: text/csv }"), { "Content-Type": "text/csv" })
    assert.deepStrictEqual(headers("{ content-type: text/csv, X-A: 1 }"), { ...plain, "X-A": "1" })
    assert.deepStrictEqual(headers("{ a: 1.10, b: 007, c: True, d: 0x1F, e: 1e3, f: no, g: , h: 2020-01-01 }"), {
      ...plain,
      a: "1.10",
      b: "007",
      c: "True",
      d: "0x1F",
      e: "1e3",
      f: "no",
      g: "",
      h: "2020-01-01"
    })
    assert.deepStrictEqual(headers("{ a: &n 1.10, b: *n }"), { ...plain, a: "1.10", b: "1.1" })
    assert.deepStrictEqual(headers("{ a: ${A} }", { A: "1.10" }), { ...plain, a: "1.10" })
    assert.deepStrictEqual(said(config({ handler: "headers: { content-type: text/csv, Host: x }" })), [
      "x.yaml:12:16: 0.eventHandler.headers.content-type: has no effect: only Content-Type counts, written like this",
      "x.yaml:12:40: 0.eventHandler.headers.Host: has no effect: it is set for each request"
    ])
    assert.deepStrictEqual(said(config({ handler: "headers: { a: [secret] }" })), [
      "x.yaml:12:16: 0.eventHandler.headers.a: expected text, found a list"
    ])
  })

  it("takes maps that << brings, as its YAML does", () => {
    const text = `- &base\n${config().slice(2)}- <<: *base\n  name: b\n`
    const { a, b } = pipelines(`- &base\n  ${text.slice(text.indexOf("name"))}`)
    assert.deepStrictEqual(b, a)
    const wrong = `- eventHandler: &h { url: x, foo: 1 }\n  eventListener: 1\n- eventHandler: { <<: *h, bar: 2 }\n`
    assert.deepStrictEqual(said(wrong).slice(0, 1), ["x.yaml:2:18: 0.eventListener: expected a map, found 1"])
  })

  it("offers what its authors left open", () => {
    const text = config({
      listener: "key: payload.customer",
      handler: `timeout: 10 seconds
    retry: { attempts: 3 }
    oauth2: { tokenUrl: "http://localhost/token", clientId: me, clientSecret: hush }`,
      processor: "key: envelope.key",
      entry: "concurrency: 4\n  deadLetters: { type: store }"
    })
    const { a } = pipelines(text)
    assert.deepStrictEqual(said(text), [])
    assert.strictEqual(a.key, "payload.customer")
    assert.deepStrictEqual(a.decode, { type: "json" })
    assert.deepStrictEqual(a.retry, { attempts: 3 })
    assert.strictEqual(a.concurrency, 4)
    assert.deepStrictEqual(a.deadLetters, { type: "store" })
    assert.strictEqual(a.dispatch[0].timeout, "10 seconds")
    assert.strictEqual(a.dispatch[0].oauth2.clientId, "me")
    assert.strictEqual(a.publish[0].key, "envelope.key")
    assert.deepStrictEqual(only({ listener: "key: envelope.headers.tenant" }).decode, { type: "bytes" })
    assert.deepStrictEqual(only({ processor: "key: reply.payload.id" }).decode, { type: "bytes" })
    assert.deepStrictEqual(only({ processor: "key: payload.id" }).decode, { type: "json" })
  })

  it("shows the place in the file for what is found wrong later on", () => {
    const text = config({
      entry: "concurrency: many",
      handler: `retry: { attempts: 0 }\n    headers: { "bad name": x }`,
      consumer: "fetch.min.bytes: 5"
    })
    const { finding } = translated(text)
    const place = (path: ReadonlyArray<string | number>, found: unknown = "?") => {
      const { column, line, path: shown } = finding({ path: ["pipelines", "a", ...path], expected: "x", found })
      return `${line}:${column}: ${shown}`
    }
    assert.strictEqual(place(["concurrency"]), "3:16: 0.concurrency")
    assert.strictEqual(place(["source", "brokers", 0]), "8:26: 0.eventListener.consumerConfig.bootstrap.servers")
    assert.strictEqual(place(["source", "fetch", "bytesMin"]), "10:24: 0.eventListener.consumerConfig.fetch.min.bytes")
    assert.strictEqual(place(["source", "type"]), "5:11: 0.eventListener.type")
    assert.strictEqual(place(["source", "rack"]), "4:3: 0.eventListener")
    assert.strictEqual(place(["retry", "attempts"]), "14:24: 0.eventHandler.retry.attempts")
    assert.strictEqual(place(["retry", "atempts"], "atempts"), "14:5: 0.eventHandler.retry.atempts")
    assert.strictEqual(place(["dispatch", 0, "url"]), "13:10: 0.eventHandler.url")
    assert.strictEqual(
      place(["dispatch", 0, "headers", "bad name"], "bad name"),
      "15:16: 0.eventHandler.headers.bad name"
    )
    assert.strictEqual(place(["publish", 0, "topic"]), "18:12: 0.eventResultProcessor.topic")
    assert.strictEqual(finding({ path: ["pipelines"], expected: "x", found: {} }).line, 1)
  })

  it("says what is missing, and where a key is misspelt", () => {
    const cases: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
      [
        "- eventHandler: { url: 'http://x/' }\n",
        ["x.yaml:1:3: 0.eventListener: expected a map with type, topic and consumerConfig, found nothing"]
      ],
      [
        "- eventlistener: {}\n  eventHandler: { url: 'http://x/' }\n",
        ['x.yaml:1:3: 0.eventlistener: expected the key eventListener, found "eventlistener"']
      ],
      [
        "- eventListener: {}\n",
        [
          "x.yaml:1:3: 0.eventListener.topic: expected the name of a topic, found nothing",
          "x.yaml:1:3: 0.eventListener.consumerConfig: expected a map with bootstrap.servers and group.id, found nothing",
          "x.yaml:1:3: 0.eventHandler: expected a map with type, method, url and headers, found nothing"
        ].toSorted()
      ],
      [
        config().replace("    topic: in\n", ""),
        ["x.yaml:3:3: 0.eventListener.topic: expected the name of a topic, found nothing"]
      ],
      [
        config().replace("      group.id: g\n", ""),
        ["x.yaml:6:5: 0.eventListener.consumerConfig.group.id: expected the name of a group, found nothing"]
      ],
      [
        config().replace("      bootstrap.servers: localhost\n", ""),
        [
          "x.yaml:6:5: 0.eventListener.consumerConfig.bootstrap.servers: expected broker addresses such as localhost:9092, found nothing"
        ]
      ],
      [
        config().replace("    url: http://localhost:8080/payload\n", ""),
        ["x.yaml:9:3: 0.eventHandler.url: expected a URL such as http://localhost:9000/path, found nothing"]
      ],
      [
        config().replace("type: kafka", "type: nats"),
        ['x.yaml:4:11: 0.eventListener.type: expected kafka, the only type there is, found "nats"']
      ],
      [
        config().replace("type: http", "type: grpc"),
        ['x.yaml:10:11: 0.eventHandler.type: expected http, the only type there is, found "grpc"']
      ],
      [
        "- eventHandler: 7\n- 8\n",
        [
          "x.yaml:1:3: 0.eventListener: expected a map with type, topic and consumerConfig, found nothing",
          "x.yaml:1:17: 0.eventHandler: expected a map, found 7",
          "x.yaml:2:3: 1: expected a map, found 8"
        ]
      ],
      [
        config({ consumer: "client.id: [a]" }),
        ["x.yaml:9:7: 0.eventListener.consumerConfig.client.id: expected text, found a list"]
      ]
    ]
    for (const [text, lines] of cases) assert.sameMembers([...said(text)], [...lines], text)
  })

  it("ignores keys it does not know, and says so", () => {
    assert.deepStrictEqual(said(config({ entry: "loglvel: 2", handler: "credentials: secret" })), [
      "x.yaml:3:3: 0.loglvel: is no key of eventor, and has no effect (did you mean logLevel?)",
      "x.yaml:13:5: 0.eventHandler.credentials: is no key of eventor, and has no effect"
    ])
  })

  it.effect("is what Config.load reads, with its own sentences for what is wrong", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* fs.makeTempDirectoryScoped()}/x.yaml`
      yield* fs.writeFileString(file, config({ consumer: "grup.id: g" }))
      const error = yield* Effect.flip(Config.load(file, {}))
      assert.strictEqual(
        error.message,
        `${file}:9:7: 0.eventListener.consumerConfig.grup.id: expected a property of librdkafka, found "grup.id" (did you mean group.id?)`
      )
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("never crashes on a broken config: 3,000 mutations", () =>
    Effect.gen(function* () {
      const words = ["- ", "{", "}", "[", "]", ":", "null", "__proto__: 1\n", "<<: *a", "&a ", "*a", "7", "\n", "'"]
      const full = config({
        consumer: "security.protocol: sasl_ssl\n      sasl.username: u",
        processor: "when: [onError]"
      })
      let taken = 0
      for (let i = 0; i < 3000; i++) {
        let text = (yield* Random.nextBoolean) ? sample : full
        for (let k = yield* Random.nextIntBetween(0, 4); k >= 0; k--) {
          const at = yield* Random.nextIntBetween(0, text.length)
          const word = words[yield* Random.nextIntBetween(0, words.length - 1)]!
          text = text.slice(0, at) + word + text.slice(at + (yield* Random.nextIntBetween(0, 12)))
        }
        const file = parse("x.yaml", text, {})
        const result = file instanceof ConfigError ? file : Eventor.translate(file, text)
        if (result === undefined || file instanceof ConfigError) continue
        taken++
        const findings = result instanceof ConfigError ? result.findings : result.warnings
        if (result instanceof ConfigError) assert.isAbove(findings.length, 0)
        for (const { column, line, message } of findings) assert.isTrue(line > 0 && column > 0 && message !== "", text)
      }
      assert.isAbove(taken, 500)
    }).pipe(Random.withSeed("eventor"))
  )
})

describe("librdkafka's properties", () => {
  it("become options of the source", () => {
    assert.deepStrictEqual(
      source(
        "client.id: me",
        "metadata.max.age.ms: 60000",
        "socket.timeout.ms: 45000",
        "socket.connection.setup.timeout.ms: 2000",
        "auto.offset.reset: Smallest",
        "isolation.level: read_uncommitted",
        "session.timeout.ms: 45000",
        "heartbeat.interval.ms: 3000",
        "max.poll.interval.ms: 300000",
        "fetch.wait.max.ms: 500",
        "fetch.min.bytes: 1",
        "fetch.max.bytes: 52428800",
        "fetch.message.max.bytes: 1048576"
      ),
      {
        type: "kafka",
        topic: "in",
        brokers: ["localhost:9092"],
        group: "g",
        clientId: "me",
        metadataAge: "60000 millis",
        requestTimeout: "45000 millis",
        connectTimeout: "2000 millis",
        from: "earliest",
        isolation: "read_uncommitted",
        session: { timeout: "45000 millis", heartbeat: "3000 millis", rebalance: "300000 millis" },
        fetch: { wait: "500 millis", bytesMin: 1, bytesMax: 52_428_800, partitionBytesMax: 1_048_576 }
      }
    )
  })

  it("begin where librdkafka does", () => {
    const words = { earliest: "earliest", beginning: "earliest", largest: "latest", latest: "latest", end: "latest" }
    for (const [word, from] of Object.entries(words))
      assert.strictEqual(source(`auto.offset.reset: ${word}`).from, from)
    assert.strictEqual(source("auto.offset.reset: error").from, "none")
    assert.strictEqual(source("check.crcs: true").from, "latest")
  })

  it("become options of the publisher", () => {
    assert.deepStrictEqual(
      publisher(
        "request.required.acks: -1",
        "compression.codec: LZ4",
        "enable.idempotence: 1",
        "request.timeout.ms: 5"
      ),
      {
        type: "kafka",
        topic: "out",
        brokers: ["localhost:9092"],
        acks: "all",
        compression: "lz4",
        idempotent: true,
        requestTimeout: "5 millis",
        headers: [],
        key: "none",
        when: ["accepted", "refused"]
      }
    )
    assert.deepStrictEqual([publisher("acks: 0").acks, publisher("acks: 1").acks], [0, 1])
    assert.strictEqual(publisher("compression.type: inherit").compression, "none")
  })

  it("name brokers with and without ports", () => {
    const brokers = (text: string) => source(`metadata.broker.list: "${text}"`).brokers
    const listed = (text: string) =>
      pipelines(config().replace("bootstrap.servers: localhost\n", `bootstrap.servers: "${text}"\n`)).a.source.brokers
    assert.deepStrictEqual(brokers("x"), ["localhost:9092"])
    assert.deepStrictEqual(listed(" a , b:1,,SASL_SSL://c:2, [::1], [::2]:3"), [
      "a:9092",
      "b:1",
      "c:2",
      "[::1]:9092",
      "[::2]:3"
    ])
    for (const wrong of ["a:0", "a:x", "a b", "a:99999", ","]) {
      assert.deepStrictEqual(said(config().replace("servers: localhost\n", `servers: "${wrong}"\n`)), [
        `x.yaml:7:26: 0.eventListener.consumerConfig.bootstrap.servers: expected broker addresses such as localhost:9092, separated by commas, found "${wrong}"`
      ])
    }
  })

  it("connect with TLS and SASL", () => {
    const passwords = ["sasl.mechanisms: SCRAM-SHA-512", "sasl.username: u", "sasl.password: 0123"]
    assert.deepStrictEqual(source("security.protocol: SASL_PLAINTEXT", ...passwords).sasl, {
      mechanism: "scram-sha-512",
      username: "u",
      password: "0123"
    })
    const both = source(
      "security.protocol: sasl_ssl",
      ...passwords,
      "ssl.ca.location: /etc/ca.pem",
      "ssl.certificate.pem: CERT",
      "ssl.key.pem: KEY",
      "ssl.key.password: p",
      "enable.ssl.certificate.verification: true",
      "ssl.endpoint.identification.algorithm: https"
    )
    assert.deepStrictEqual(both.tls, {
      ca: "/etc/ca.pem",
      cert: "CERT",
      key: "KEY",
      passphrase: "p",
      verify: true,
      verifyHost: true
    })
    assert.deepStrictEqual(source("security.protocol: ssl", "ssl.keystore.location: /k.p12").tls, {
      pfx: "/k.p12",
      verifyHost: false
    })
    const tokens = source(
      "security.protocol: sasl_ssl",
      "sasl.mechanism: OAUTHBEARER",
      "sasl.oauthbearer.method: oidc",
      "sasl.oauthbearer.client.id: me",
      "sasl.oauthbearer.client.secret: hush",
      "sasl.oauthbearer.token.endpoint.url: http://localhost/token",
      "sasl.oauthbearer.scope: s"
    )
    assert.deepStrictEqual(tokens.sasl, {
      mechanism: "oauthbearer",
      tokenUrl: "http://localhost/token",
      clientId: "me",
      clientSecret: "hush",
      scope: "s"
    })
  })

  it("say what only tunes, what has no effect, and what is decided otherwise", () => {
    const lines = (consumer: string) =>
      said(config({ consumer })).map((line) => line.replace(/^x.*consumerConfig\./, ""))
    assert.deepStrictEqual(lines("enable.auto.commit: false"), [])
    const commits = "what is settled is committed, and nothing else, whatever this says"
    assert.deepStrictEqual(said(config({ consumer: "enable.auto.commit: true" })), [
      `x.yaml:9:7: 0.eventListener.consumerConfig.enable.auto.commit: ${commits}`
    ])
    assert.deepStrictEqual(lines("auto.commit.interval.ms: 1"), [`auto.commit.interval.ms: ${commits}`])
    assert.deepStrictEqual(lines("queued.min.messages: 1"), [
      "queued.min.messages: only tunes librdkafka, and has no effect here"
    ])
    assert.deepStrictEqual(lines("linger.ms: 1"), ["linger.ms: is for a producer, and has no effect in consumerConfig"])
    assert.deepStrictEqual(lines("metadata.broker.list: x"), [
      "metadata.broker.list: says the same as bootstrap.servers, which counts"
    ])
    assert.deepStrictEqual(lines("sasl.username: x"), ["sasl.username: has no effect with this security.protocol"])
    assert.deepStrictEqual(lines("group.protocol: classic"), [])
    assert.deepStrictEqual(lines("security.protocol: ssl\n      ssl.ca.location: ca.pem"), [
      "ssl.ca.location: is a relative path: it starts at the config's folder",
      "security.protocol: the broker's certificate may be of any name, as with eventor: ssl.endpoint.identification.algorithm: https checks it"
    ])
    assert.deepStrictEqual(said(config({ producer: "group.instance.id: x" })), [
      "x.yaml:17:7: 0.eventResultProcessor.producerConfig.group.instance.id: is for a consumer, and has no effect in producerConfig"
    ])
    assert.deepStrictEqual(
      said(config({ producer: "socket.timeout.ms: 50\n      request.timeout.ms: 60" })).map((line) =>
        line.replace(/^x.*producerConfig\./, "")
      ),
      ["request.timeout.ms: says the same as socket.timeout.ms, which counts"]
    )
  })

  it("say what is unknown, cannot be done, or is no value", () => {
    const at = "x.yaml:9:7: 0.eventListener.consumerConfig."
    const cases: ReadonlyArray<readonly [string, string]> = [
      [
        "session.timeot.ms: 1",
        `${at}session.timeot.ms: expected a property of librdkafka, found "session.timeot.ms" (did you mean session.timeout.ms?)`
      ],
      ["constructor: 1", `${at}constructor: expected a property of librdkafka, found "constructor"`],
      [
        "group.instance.id: x",
        `${at}group.instance.id: expected no such property, since static membership of a group is not supported, found "group.instance.id"`
      ],
      [
        "ssl.crl.location: x",
        `${at}ssl.crl.location: expected no such property, since lists of revoked certificates are not supported, found "ssl.crl.location"`
      ],
      [
        "group.protocol: consumer",
        'x.yaml:9:23: 0.eventListener.consumerConfig.group.protocol: expected one of classic, found "consumer"'
      ],
      [
        "auto.offset.reset: first",
        'x.yaml:9:26: 0.eventListener.consumerConfig.auto.offset.reset: expected one of earliest, smallest, beginning, latest, largest, end, error, found "first"'
      ],
      [
        "session.timeout.ms: soon",
        'x.yaml:9:27: 0.eventListener.consumerConfig.session.timeout.ms: expected a whole number of milliseconds from 1 to 3600000, found "soon"'
      ],
      [
        "security.protocol: tls",
        'x.yaml:9:26: 0.eventListener.consumerConfig.security.protocol: expected one of plaintext, ssl, sasl_plaintext, sasl_ssl, found "tls"'
      ]
    ]
    for (const [consumer, sentence] of cases) assert.deepStrictEqual(said(config({ consumer })), [sentence])
    const producers: ReadonlyArray<readonly [string, string]> = [
      [
        "transactional.id: x",
        'x.yaml:17:7: 0.eventResultProcessor.producerConfig.transactional.id: expected no such property, since eventor\'s answers are published without transactions, found "transactional.id"'
      ],
      ["acks: 2", 'x.yaml:17:13: 0.eventResultProcessor.producerConfig.acks: expected all, -1, 1 or 0, found "2"'],
      [
        "acks: 1\n      enable.idempotence: true",
        'x.yaml:17:13: 0.eventResultProcessor.producerConfig.acks: expected all, since enable.idempotence is true, found "1"'
      ]
    ]
    for (const [producer, sentence] of producers) assert.deepStrictEqual(said(config({ producer })), [sentence])
  })

  it("say which credentials are missing, and never show one", () => {
    const mechanisms =
      "expected one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (GSSAPI, librdkafka's default, is not supported)"
    const lines = (...properties: ReadonlyArray<string>) =>
      said(config({ consumer: ["security.protocol: sasl_plaintext", ...properties].join("\n      ") }))
    assert.deepStrictEqual(lines("sasl.password: hush"), [
      `x.yaml:6:5: 0.eventListener.consumerConfig.sasl.mechanism: ${mechanisms}, found nothing`
    ])
    assert.deepStrictEqual(lines("sasl.mechanisms: GSSAPI"), [
      `x.yaml:10:24: 0.eventListener.consumerConfig.sasl.mechanisms: ${mechanisms}, found "GSSAPI"`
    ])
    assert.deepStrictEqual(lines("sasl.mechanism: PLAIN", "sasl.password: hush"), [
      "x.yaml:6:5: 0.eventListener.consumerConfig.sasl.username: expected text, since sasl.mechanism is PLAIN, found nothing"
    ])
    assert.deepStrictEqual(lines("sasl.mechanism: OAUTHBEARER", "sasl.oauthbearer.client.secret: hush"), [
      "x.yaml:6:5: 0.eventListener.consumerConfig.sasl.oauthbearer.method: expected one of oidc, found nothing",
      "x.yaml:6:5: 0.eventListener.consumerConfig.sasl.oauthbearer.token.endpoint.url: expected text, since sasl.mechanism is OAUTHBEARER, found nothing",
      "x.yaml:6:5: 0.eventListener.consumerConfig.sasl.oauthbearer.client.id: expected text, since sasl.mechanism is OAUTHBEARER, found nothing"
    ])
  })

  it("are each judged, as a consumer's and as a producer's", () => {
    assert.isAbove(known.length, 150)
    for (const role of ["consumer", "producer"] as const) {
      for (const name of known) {
        const { options, problems, remarks } = EventorKafka.read(role, [{ name, value: "1", path: [name] }], [])
        const isQuiet = problems.length + remarks.length === 0
        assert.isTrue(!isQuiet || Object.keys(options).some((option) => option !== "from"), `${role} ${name}`)
      }
    }
  })
})
