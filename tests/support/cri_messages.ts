/**
 * The part of Kubernetes' Container Runtime Interface (runtime.v1) that the tests speak: names and numbers of fields, as
 * its public api.proto has them.
 */
import { create, createFileRegistry, type DescService, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type DescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  type FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

/**
 * Message -> field -> number and type: a scalar, or another message; `[]` makes it repeated, `map` is one of strings.
 * Enumerations are numbers on the wire, and here.
 */
const MESSAGES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  KeyValue: { key: "1 string", value: "2 bytes" },
  Int64Value: { value: "1 int64" },
  UInt64Value: { value: "1 uint64" },

  VersionRequest: {},
  VersionResponse: { runtime_name: "2 string", runtime_version: "3 string" },
  StatusRequest: { verbose: "1 bool" },
  StatusResponse: { status: "1 RuntimeStatus", runtime_handlers: "3 RuntimeHandler[]" },
  RuntimeStatus: { conditions: "1 RuntimeCondition[]" },
  RuntimeCondition: { type: "1 string", status: "2 bool", message: "4 string" },
  RuntimeHandler: { name: "1 string", features: "2 RuntimeHandlerFeatures" },
  RuntimeHandlerFeatures: { recursive_read_only_mounts: "1 bool", user_namespaces: "2 bool" },

  PodSandboxMetadata: { name: "1 string", uid: "2 string", namespace: "3 string", attempt: "4 uint32" },
  PodSandboxConfig: {
    metadata: "1 PodSandboxMetadata",
    hostname: "2 string",
    log_directory: "3 string",
    labels: "6 map",
    annotations: "7 map",
    linux: "8 LinuxPodSandboxConfig",
  },
  LinuxPodSandboxConfig: {
    cgroup_parent: "1 string",
    security_context: "2 LinuxSandboxSecurityContext",
    sysctls: "3 map",
  },
  LinuxSandboxSecurityContext: { namespace_options: "1 NamespaceOption", seccomp: "9 SecurityProfile" },
  NamespaceOption: {
    network: "1 int32",
    pid: "2 int32",
    ipc: "3 int32",
    target_id: "4 string",
    userns_options: "5 UserNamespace",
  },
  UserNamespace: { mode: "1 int32", uids: "2 IDMapping[]", gids: "3 IDMapping[]" },
  IDMapping: { host_id: "1 uint32", container_id: "2 uint32", length: "3 uint32" },
  SecurityProfile: { profile_type: "1 int32", localhost_ref: "2 string" },
  RunPodSandboxRequest: { config: "1 PodSandboxConfig", runtime_handler: "2 string" },
  RunPodSandboxResponse: { pod_sandbox_id: "1 string" },
  PodSandboxStatusRequest: { pod_sandbox_id: "1 string" },
  PodSandboxStatusResponse: { status: "1 PodSandboxStatus" },
  PodSandboxStatus: { id: "1 string", state: "3 int32", runtime_handler: "9 string" },
  PodSandboxStatsRequest: { pod_sandbox_id: "1 string" },
  PodSandboxStatsResponse: { stats: "1 PodSandboxStats" },
  PodSandboxStats: { linux: "2 LinuxPodSandboxStats" },
  LinuxPodSandboxStats: { cpu: "1 CpuUsage", memory: "2 MemoryUsage", process: "4 ProcessUsage" },
  ProcessUsage: { process_count: "2 UInt64Value" },
  StopPodSandboxRequest: { pod_sandbox_id: "1 string" },
  StopPodSandboxResponse: {},
  RemovePodSandboxRequest: { pod_sandbox_id: "1 string" },
  RemovePodSandboxResponse: {},
  ListPodSandboxRequest: {},
  ListPodSandboxResponse: { items: "1 PodSandbox[]" },
  PodSandbox: { id: "1 string", metadata: "2 PodSandboxMetadata", state: "3 int32" },

  ContainerMetadata: { name: "1 string", attempt: "2 uint32" },
  ImageSpec: { image: "1 string" },
  Mount: {
    container_path: "1 string",
    host_path: "2 string",
    readonly: "3 bool",
    propagation: "5 int32",
    uid_mappings: "6 IDMapping[]",
    gid_mappings: "7 IDMapping[]",
    recursive_read_only: "8 bool",
  },
  Device: { container_path: "1 string", host_path: "2 string", permissions: "3 string" },
  ContainerConfig: {
    metadata: "1 ContainerMetadata",
    image: "2 ImageSpec",
    command: "3 string[]",
    args: "4 string[]",
    working_dir: "5 string",
    envs: "6 KeyValue[]",
    mounts: "7 Mount[]",
    devices: "8 Device[]",
    labels: "9 map",
    annotations: "10 map",
    log_path: "11 string",
    stdin: "12 bool",
    stdin_once: "13 bool",
    tty: "14 bool",
    linux: "15 LinuxContainerConfig",
  },
  LinuxContainerConfig: {
    resources: "1 LinuxContainerResources",
    security_context: "2 LinuxContainerSecurityContext",
  },
  LinuxContainerResources: {
    cpu_period: "1 int64",
    cpu_quota: "2 int64",
    cpu_shares: "3 int64",
    memory_limit_in_bytes: "4 int64",
    oom_score_adj: "5 int64",
    cpuset_cpus: "6 string",
    cpuset_mems: "7 string",
    unified: "9 map",
    memory_swap_limit_in_bytes: "10 int64",
  },
  LinuxContainerSecurityContext: {
    capabilities: "1 Capability",
    privileged: "2 bool",
    namespace_options: "3 NamespaceOption",
    run_as_user: "5 Int64Value",
    run_as_group: "12 Int64Value",
    readonly_rootfs: "7 bool",
    supplemental_groups: "8 int64[]",
    no_new_privs: "11 bool",
    masked_paths: "13 string[]",
    readonly_paths: "14 string[]",
    seccomp: "15 SecurityProfile",
  },
  Capability: { add_capabilities: "1 string[]", drop_capabilities: "2 string[]" },
  CreateContainerRequest: {
    pod_sandbox_id: "1 string",
    config: "2 ContainerConfig",
    sandbox_config: "3 PodSandboxConfig",
  },
  CreateContainerResponse: { container_id: "1 string" },
  StartContainerRequest: { container_id: "1 string" },
  StartContainerResponse: {},
  StopContainerRequest: { container_id: "1 string", timeout: "2 int64" },
  StopContainerResponse: {},
  RemoveContainerRequest: { container_id: "1 string" },
  RemoveContainerResponse: {},
  ListContainersRequest: {},
  ListContainersResponse: { containers: "1 Container[]" },
  Container: { id: "1 string", metadata: "3 ContainerMetadata", state: "6 int32" },
  ContainerStatusRequest: { container_id: "1 string" },
  ContainerStatusResponse: { status: "1 ContainerStatus" },
  ContainerStatus: {
    id: "1 string",
    state: "3 int32",
    exit_code: "7 int32",
    reason: "10 string",
    message: "11 string",
    resources: "16 ContainerResources",
  },
  ContainerResources: { linux: "1 LinuxContainerResources" },
  UpdateContainerResourcesRequest: { container_id: "1 string", linux: "2 LinuxContainerResources" },
  UpdateContainerResourcesResponse: {},
  ReopenContainerLogRequest: { container_id: "1 string" },
  ReopenContainerLogResponse: {},

  ExecSyncRequest: { container_id: "1 string", cmd: "2 string[]", timeout: "3 int64" },
  ExecSyncResponse: { stdout: "1 bytes", stderr: "2 bytes", exit_code: "3 int32" },
  ExecRequest: {
    container_id: "1 string",
    cmd: "2 string[]",
    tty: "3 bool",
    stdin: "4 bool",
    stdout: "5 bool",
    stderr: "6 bool",
  },
  ExecResponse: { url: "1 string" },
  AttachRequest: { container_id: "1 string", stdin: "2 bool", tty: "3 bool", stdout: "4 bool", stderr: "5 bool" },
  AttachResponse: { url: "1 string" },

  ContainerStatsRequest: { container_id: "1 string" },
  ContainerStatsResponse: { stats: "1 ContainerStats" },
  ContainerStats: { attributes: "1 ContainerAttributes", cpu: "2 CpuUsage", memory: "3 MemoryUsage" },
  ContainerAttributes: { id: "1 string" },
  CpuUsage: { timestamp: "1 int64", usage_core_nano_seconds: "2 UInt64Value" },
  MemoryUsage: { timestamp: "1 int64", working_set_bytes: "2 UInt64Value", available_bytes: "3 UInt64Value" },
};

const PACKAGE = "runtime.v1";
const SERVICE = "RuntimeService";
const SCALARS: Readonly<Record<string, Type>> = {
  string: Type.STRING,
  bytes: Type.BYTES,
  bool: Type.BOOL,
  int32: Type.INT32,
  uint32: Type.UINT32,
  int64: Type.INT64,
  uint64: Type.UINT64,
};

type Message = MessageInitShape<typeof DescriptorProtoSchema>;
type Field = MessageInitShape<typeof FieldDescriptorProtoSchema>;

/** "7 Mount[]" -> what protobuf calls a field's descriptor. */
function field(owner: string, name: string, text: string): Field {
  const [number, type = ""] = text.split(" ");
  const base = { name, number: Number(number), label: /\[\]|^map$/.test(type) ? Label.REPEATED : Label.OPTIONAL };
  if (type === "map") return { ...base, type: Type.MESSAGE, typeName: `.${PACKAGE}.${owner}.${entry(name)}` };
  const one = type.replace("[]", "");
  const scalar = SCALARS[one];
  return scalar === undefined
    ? { ...base, type: Type.MESSAGE, typeName: `.${PACKAGE}.${one}` }
    : { ...base, type: scalar };
}

/** A map is repeated entries on the wire, each a message: named as protoc names it. */
const entry = (name: string) => `${name.replace(/(?:^|_)(.)/g, (_, letter: string) => letter.toUpperCase())}Entry`;

function message([name, fields]: [string, Readonly<Record<string, string>>]): Message {
  const maps = Object.entries(fields).filter(([, text]) => text.endsWith("map"));
  return {
    name,
    field: Object.entries(fields).map(([fieldName, text]) => field(name, fieldName, text)),
    nestedType: maps.map(([fieldName]) => ({
      name: entry(fieldName),
      field: [field(name, "key", "1 string"), field(name, "value", "2 string")],
      options: { mapEntry: true },
    })),
  };
}

/** Every call that has a request and a response here. */
function describe(): DescService {
  const method = Object.keys(MESSAGES).filter((name) => name.endsWith("Request")).map((request) => {
    const name = request.slice(0, -"Request".length);
    return { name, inputType: `.${PACKAGE}.${request}`, outputType: `.${PACKAGE}.${name}Response` };
  });
  const file = create(FileDescriptorProtoSchema, {
    name: "cri.proto",
    package: PACKAGE,
    syntax: "proto3",
    messageType: Object.entries(MESSAGES).map(message),
    service: [{ name: SERVICE, method }],
  });
  return createFileRegistry(create(FileDescriptorSetSchema, { file: [file] })).getService(`${PACKAGE}.${SERVICE}`)!;
}

export const RUNTIME_SERVICE: DescService = describe();
