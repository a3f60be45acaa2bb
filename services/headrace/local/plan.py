"""What runs, with which settings: from the configuration to process specifications.

Pure: starts nothing and picks no port. A variable that the user set in the
environment wins over the file, never over what the processes need to find each
other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from headrace.local import gateway, variables
from headrace.local import valkey as store
from headrace.local.config.schema import EMBEDDED, NONE, Config
from headrace.local.config.schema import INSIGHT as OURS
from headrace.local.endpoints import Endpoint
from headrace.local.inherited import inherited
from headrace.local.ports import HOST
from headrace.local.spec import Spec
from headrace.local.statedir import StateDir

GATEWAY, INFERENCE, INSIGHT = "gateway", "inference", "insight"
CACHE, GUARD, METERING, VALKEY = "cache", "guard", "metering", "valkey"
SCALING = "scaling"


@dataclass(frozen=True, slots=True)
class Plan:
    """Makes specifications for one mesh. `valkey` is None where its binary is not needed."""

    state: StateDir
    config: Config
    environ: Mapping[str, str]
    python: str
    envoy: Path
    valkey: Path | None = None

    @property
    def repository(self) -> Path:
        """The models: the user's own, or the state directory's."""
        own = self.config.inference.repository
        return self.state.models if own is msgspec.UNSET else Path(own).absolute()

    def gateway_settings(self, port: int) -> gateway.GatewaySettings:
        """Envoy's configuration, listening on `port`."""
        section = self.config.gateway
        return gateway.GatewaySettings(
            run_dir=self.state.run,
            config_dir=self.state.envoy,
            host=HOST,
            port=port,
            hot_path=section.hot_path,
            sample_ratio=self.config.telemetry.sample_ratio,
            cors_origins=tuple(section.cors_origins),
            access_log=self.state.log("access") if section.access_log else None,
            metered=self.runs(METERING),
            **msgspec.structs.asdict(section.limits),
        )

    def gateway_spec(self, port: int) -> Spec:
        """Envoy."""
        command = gateway.command(self.envoy, self.gateway_settings(port))
        return Spec(
            GATEWAY,
            GATEWAY,
            tuple(command),
            {**gateway.ENVIRONMENT, **inherited(self.environ)},
            f"{HOST}:{port}",
            (port,),
            "gateway.port",
            self.state.log(GATEWAY),
        )

    def insight_spec(self, port: int, web_port: int) -> Spec:
        """Takes every span of the mesh, keeps them and passes them on; makes none, or each would make another."""
        receivers = [target for target in self.config.telemetry.otlp_endpoint if target != OURS]
        fixed = {"HEADRACE_INSIGHT_STORE": str(self.state.traces), "HEADRACE_TELEMETRY_OTLP": ""}
        fixed |= {
            "HEADRACE_INSIGHT_TARGETS": str(self.state.targets),
            "HEADRACE_INSIGHT_GATEWAY_ADMIN": str(self.state.envoy_admin),
            "HEADRACE_INSIGHT_WEB_LISTEN": f"{HOST}:{web_port}",
        }
        defaults = {
            "HEADRACE_INSIGHT_STORE_BYTES": str(self.config.insight.store_bytes),
            "HEADRACE_INSIGHT_KEEP": str(OURS in self.config.telemetry.otlp_endpoint).lower(),
            "HEADRACE_INSIGHT_FORWARD": ",".join(receivers),
        }
        spec = self._neighbour(INSIGHT, "insight.port", port, defaults, fixed)
        return replace(spec, ports=(*spec.ports, web_port), web=f"http://{HOST}:{web_port}/")

    def guard_spec(self, port: int) -> Spec:
        """Leases out what each tenant may do."""
        defaults = {"HEADRACE_GUARD_LIMITS": variables.limits(self.config.limits)}
        return self._neighbour(
            GUARD, "limits.port", port, defaults, {"HEADRACE_GUARD_STORE": str(self.state.guard)}
        )

    def cache_spec(self, port: int, valkey_port: int) -> Spec:
        """Keeps answers; `valkey_port` is our own Valkey's, if there is one."""
        section = self.config.cache
        redis, password = section.redis, section.redis_password_file
        if section.redis == EMBEDDED:
            redis, password = f"redis://{store.USER}@{HOST}:{valkey_port}", str(self.state.valkey_password)
        defaults = {
            "HEADRACE_CACHE_MAX_ENTRIES": str(section.max_entries),
            "HEADRACE_CACHE_MAX_BYTES": str(section.max_bytes),
            "HEADRACE_CACHE_TTL_S": str(section.ttl_s),
            "HEADRACE_CACHE_REDIS_BUDGET_MS": str(section.redis_budget_ms),
        }
        fixed = {
            "HEADRACE_CACHE_KEY_FILE": str(self.state.cache_key),
            "HEADRACE_CACHE_REDIS": "" if redis == NONE else redis,
            "HEADRACE_CACHE_REDIS_PASSWORD_FILE": ""
            if password is msgspec.UNSET
            else str(Path(password).absolute()),
        }
        return self._neighbour(CACHE, "cache.port", port, defaults, fixed)

    def metering_spec(self, port: int) -> Spec:
        """Books what requests cost."""
        fixed = {
            "HEADRACE_METERING_LEDGER": str(self.state.ledger),
            "HEADRACE_METERING_EDGE": str(self.state.edge_log),
        }
        prices = self.config.metering.prices
        defaults = {"HEADRACE_METERING_PRICES": msgspec.json.encode(prices).decode()} if prices else {}
        return self._neighbour(METERING, "metering.port", port, defaults, fixed)

    def scaling_spec(self, port: int) -> Spec:
        """Tells the gateway which replicas there are; the supervisor starts and stops them for it."""
        fixed = {
            "HEADRACE_SCALING_STORE": str(self.state.scaling),
            # Among the sockets: none of them outlives the mesh.
            "HEADRACE_SCALING_ENDPOINTS": str(self.state.run / "endpoints.json"),
            "HEADRACE_SCALING_SUPERVISOR": f"unix:{self.state.supervisor_socket}",
        }
        return self._neighbour(SCALING, "scaling.port", port, variables.scaling(self.config), fixed)

    def valkey_spec(self, port: int, server: Path) -> Spec:
        """The cache's second level; reads the files of `secret_files.write_valkey`."""
        return Spec(
            VALKEY,
            VALKEY,
            tuple(store.command(server, self.state.valkey / "valkey.conf")),
            inherited(self.environ),
            f"{HOST}:{port}",
            (port,),
            "cache.valkey_port",
            self.state.log(VALKEY),
        )

    def neighbours(self, free: Callable[[int], int]) -> list[Spec]:
        """Every process besides the gateway and the replicas; `free` gives the first of some free ports."""
        section = self.config
        specs = [
            self.insight_spec(section.insight.port or free(2), section.insight.web_port or free(1)),
            self.scaling_spec(section.scaling.port or free(2)),
        ]
        if self.runs(GUARD):
            specs.append(self.guard_spec(section.limits.port or free(2)))
        valkey_port = section.cache.valkey_port or free(1)
        if self.valkey is not None and self.runs(VALKEY):
            specs.append(self.valkey_spec(valkey_port, self.valkey))
        if self.runs(CACHE):
            specs.append(self.cache_spec(section.cache.port or free(2), valkey_port))
        if self.runs(METERING):
            specs.append(self.metering_spec(section.metering.port or free(2)))
        return specs

    def runs(self, service: str) -> bool:
        """Whether headrace.yaml leaves the service on."""
        match service:
            case "guard":
                return self.config.limits.enabled
            case "cache":
                return self.config.cache.enabled
            case "metering":
                return self.config.metering.enabled
            case "valkey":
                return self.runs(CACHE) and self.config.cache.redis == EMBEDDED
        return True

    def target(self, service: str) -> str:
        """Where the mesh's own processes reach a service; empty where it is off."""
        return f"unix:{self.state.socket(service)}" if self.runs(service) else ""

    def replica_spec(self, number: int, port: int) -> Spec:
        """Replica `number` of inference."""
        name = f"{INFERENCE}-{number}"
        hot_socket = self.state.run / f"{name}.hot.sock"
        # Over h2 alone the gateway sends nothing to the hot sockets: none to be checked.
        hot_path = self.config.gateway.hot_path == "h1"
        endpoint = Endpoint(name, hot_socket if hot_path else None, self.state.run / f"{name}.grpc.sock")
        fixed = {
            "HEADRACE_INFERENCE_LISTEN": f"{HOST}:{port}",
            "HEADRACE_INFERENCE_METRICS_LISTEN": f"{HOST}:{port + 1}",
            "HEADRACE_INFERENCE_HOT_SOCKET": str(hot_socket),
            "HEADRACE_INFERENCE_GRPC_SOCKET": str(endpoint.grpc_socket),
            "HEADRACE_INFERENCE_REPOSITORY": str(self.repository),
            "HEADRACE_INFERENCE_CONTROL_DIR": str(self.state.control),
            "HEADRACE_INFERENCE_REPLICA": name,
            "HEADRACE_INFERENCE_JWKS": str(self.state.jwks),
            "HEADRACE_INFERENCE_GUARD": self.target(GUARD),
            "HEADRACE_INFERENCE_CACHE": self.target(CACHE),
            "HEADRACE_INFERENCE_METERING": self.target(METERING),
            "HEADRACE_INFERENCE_OUTBOX": str(self.state.outbox) if self.runs(METERING) else "",
            "HEADRACE_INFERENCE_CACHE_KEY_FILE": str(self.state.cache_key) if self.runs(CACHE) else "",
        }
        ratio = {"HEADRACE_TELEMETRY_SAMPLE_RATIO": str(self.config.telemetry.sample_ratio)}
        defaults = {**ratio, **self._inference_defaults()}
        return self._service(name, INFERENCE, "inference.port", port, defaults, fixed, endpoint)

    def _inference_defaults(self) -> dict[str, str]:
        section = self.config.inference
        values = {
            "HEADRACE_INFERENCE_MAX_MESSAGE_BYTES": str(self.config.gateway.limits.max_message_bytes),
            "HEADRACE_INFERENCE_DRAIN_GRACE_S": str(section.drain_grace_s),
            "HEADRACE_INFERENCE_MODEL_CONTROL": section.model_control,
            "HEADRACE_INFERENCE_REPOSITORY_POLL_S": str(section.poll_s),
            "HEADRACE_INFERENCE_LOAD_MODELS": ",".join(section.load_models),
            "HEADRACE_INFERENCE_MODELS": msgspec.json.encode(section.models).decode(),
            "HEADRACE_INFERENCE_SHARED_MEMORY": "true" if section.shared_memory else "false",
            "HEADRACE_INFERENCE_SHARE_SLOTS": "true" if section.share_slots else "false",
            "HEADRACE_INFERENCE_WEIGHTS": variables.weights(self.config.limits),
            "HEADRACE_INFERENCE_REVOCATION_STALENESS_S": str(self.config.limits.revocation_staleness_s),
            "HEADRACE_INFERENCE_CACHE_TTL_S": str(self.config.cache.ttl_s),
            "HEADRACE_INFERENCE_NEAR_CACHE_ENTRIES": str(self.config.cache.near_entries),
            "HEADRACE_INFERENCE_NEAR_CACHE_BYTES": str(self.config.cache.near_bytes),
        }
        if section.instances is not msgspec.UNSET:
            values["HEADRACE_INFERENCE_INSTANCES"] = str(section.instances)
        return values

    def _neighbour(
        self, service: str, port_key: str, port: int, defaults: Mapping[str, str], fixed: Mapping[str, str]
    ) -> Spec:
        """A service of one process, which the replicas reach by its socket and not during a request."""
        prefix = f"HEADRACE_{service.upper()}"
        where = {
            f"{prefix}_LISTEN": f"{HOST}:{port}",
            f"{prefix}_METRICS_LISTEN": f"{HOST}:{port + 1}",
            f"{prefix}_SOCKET": str(self.state.socket(service)),
            f"{prefix}_JWKS": str(self.state.jwks),
            # Only what belongs to a request is traced: it comes with its parent.
            "HEADRACE_TELEMETRY_SAMPLE_RATIO": "0",
        }
        if service != GUARD:  # it tells the others of revoked tokens
            where[f"{prefix}_GUARD"] = self.target(GUARD)
        return self._service(service, service, port_key, port, defaults, {**where, **fixed})

    def _service(
        self,
        name: str,
        service: str,
        port_key: str,
        port: int,
        defaults: Mapping[str, str],
        fixed: Mapping[str, str],
        endpoint: Endpoint | None = None,
    ) -> Spec:
        # Insight passes them on: whoever gets the gateway's spans gets these, and the other way round.
        spans = f"unix:{self.state.insight_socket}" if self.config.telemetry.otlp_endpoint else ""
        return Spec(
            name,
            service,
            (self.python, "-m", f"headrace.{service}"),
            {**defaults, **self.environ, "HEADRACE_TELEMETRY_OTLP": spans, **fixed},
            f"{HOST}:{port}",
            (port, port + 1),
            port_key,
            self.state.log(name),
            endpoint,
        )
