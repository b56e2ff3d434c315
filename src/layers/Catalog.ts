/** All components there are: one line each. The config's schema, the help and the docs' tables are derived from here. */
import type {
  CodecComponent,
  DetectorComponent,
  DispatcherComponent,
  PublisherComponent,
  SourceComponent
} from "../services/Component.ts"
import * as Hasura from "../streams/Hasura.ts"
import * as SourceAzureQueue from "../streams/SourceAzureQueue.ts"
import * as SourceEventRelay from "../streams/SourceEventRelay.ts"
import * as SourceFile from "../streams/SourceFile.ts"
import * as SourceGateway from "../streams/SourceGateway.ts"
import * as SourceGenerate from "../streams/SourceGenerate.ts"
import * as SourceHttp from "../streams/SourceHttp.ts"
import * as SourceKafka from "../streams/SourceKafka.ts"
import * as SourceMemory from "../streams/SourceMemory.ts"
import * as SourceStdin from "../streams/SourceStdin.ts"
import * as SourceTopic from "../streams/SourceTopic.ts"
import * as SourceWebhook from "../streams/SourceWebhook.ts"
import * as SourceZeroMq from "../streams/SourceZeroMq.ts"
import * as CodecBytes from "./CodecBytes.ts"
import * as CodecCloudEvents from "./CodecCloudEvents.ts"
import * as CodecConfluent from "./CodecConfluent.ts"
import * as CodecEventRelay from "./CodecEventRelay.ts"
import * as CodecJson from "./CodecJson.ts"
import * as CodecText from "./CodecText.ts"
import * as DetectorField from "./DetectorField.ts"
import * as DetectorModules from "./DetectorModules.ts"
import * as DetectorRules from "./DetectorRules.ts"
import * as DispatcherHttp from "./DispatcherHttp.ts"
import * as DispatcherJobs from "./DispatcherJobs.ts"
import * as DispatcherPrefect from "./DispatcherPrefect.ts"
import * as PublisherAzureQueue from "./PublisherAzureQueue.ts"
import * as PublisherEventRelay from "./PublisherEventRelay.ts"
import * as PublisherFile from "./PublisherFile.ts"
import * as PublisherHttp from "./PublisherHttp.ts"
import * as PublisherKafka from "./PublisherKafka.ts"
import * as PublisherMemory from "./PublisherMemory.ts"
import * as PublisherNone from "./PublisherNone.ts"
import * as PublisherStdout from "./PublisherStdout.ts"
import * as PublisherTopic from "./PublisherTopic.ts"
import * as PublisherZeroMq from "./PublisherZeroMq.ts"

export const sources: ReadonlyArray<SourceComponent> = [
  SourceHttp.component,
  SourceWebhook.component,
  SourceGateway.component,
  SourceKafka.component,
  SourceAzureQueue.component,
  SourceEventRelay.component,
  SourceTopic.component,
  SourceZeroMq.component,
  SourceStdin.component,
  SourceFile.component,
  SourceGenerate.component,
  SourceMemory.component
]

export const codecs: ReadonlyArray<CodecComponent> = [
  CodecJson.component,
  CodecText.component,
  CodecBytes.component,
  CodecCloudEvents.component,
  CodecConfluent.component,
  CodecEventRelay.component,
  Hasura.component
]

export const detectors: ReadonlyArray<DetectorComponent> = [
  DetectorRules.component,
  DetectorField.component,
  DetectorModules.component
]

export const dispatchers: ReadonlyArray<DispatcherComponent> = [
  DispatcherHttp.component,
  DispatcherPrefect.component,
  DispatcherJobs.component
]

export const publishers: ReadonlyArray<PublisherComponent> = [
  PublisherKafka.component,
  PublisherAzureQueue.component,
  PublisherEventRelay.component,
  PublisherTopic.component,
  PublisherZeroMq.component,
  PublisherHttp.component,
  PublisherStdout.component,
  PublisherFile.component,
  PublisherMemory.component,
  PublisherNone.component
]
