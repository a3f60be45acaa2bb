"""What runs, with which settings: from the configuration to process specifications.

Pure: starts nothing and picks no port. A variable that the user set in the
environment wins over the file, never over what the processes need to find each
other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.local import gateway
from headrace.local.config.schema import INSIGHT as EMBEDDED
from headrace.local.config.schema import Config
from headrace.local.ports import HOST
from headrace.local.statedir import StateDir

GATEWAY, INFERENCE, INSIGHT = "gateway", "inference", "insight"
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "GLIBC_TUNABLES",
)


@dataclass(frozen=True, slots=True)
class Spec:
    """One process: what to start, and where it will be.

    `ports` are those that must be free; `endpoint` is set for replicas only.
    """

    name: str
    service: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    address: str
    ports: tuple[int, ...]
    log: Path
    endpoint: gateway.Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Makes specifications for one mesh."""

    state: StateDir
    config: Config
    environ: Mapping[str, str]
    python: str
    envoy: Path

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
            **msgspec.structs.asdict(section.limits),
        )

    def gateway_spec(self, port: int) -> Spec:
        """Envoy."""
        command = gateway.command(self.envoy, self.gateway_settings(port))
        return Spec(
            GATEWAY,
            GATEWAY,
            tuple(command),
            {
                **gateway.ENVIRONMENT,
                **{name: self.environ[name] for name in INHERITED if name in self.environ},
            },
            f"{HOST}:{port}",
            (port,),
            self.state.log(GATEWAY),
        )

    def insight_spec(self, port: int) -> Spec:
        """Takes every span of the mesh, keeps them and passes them on; makes none, or each would make another."""
        receivers = [target for target in self.config.telemetry.otlp_endpoint if target != EMBEDDED]
        fixed = {
            "HEADRACE_INSIGHT_LISTEN": f"{HOST}:{port}",
            "HEADRACE_INSIGHT_METRICS_LISTEN": f"{HOST}:{port + 1}",
            "HEADRACE_INSIGHT_SOCKET": str(self.state.insight_socket),
            "HEADRACE_INSIGHT_STORE": str(self.state.traces),
            "HEADRACE_INSIGHT_JWKS": str(self.state.jwks),
            "HEADRACE_TELEMETRY_OTLP": "",
        }
        defaults = {
            "HEADRACE_INSIGHT_STORE_BYTES": str(self.config.insight.store_bytes),
            "HEADRACE_INSIGHT_KEEP": str(EMBEDDED in self.config.telemetry.otlp_endpoint).lower(),
            "HEADRACE_INSIGHT_FORWARD": ",".join(receivers),
        }
        return self._service(INSIGHT, INSIGHT, port, defaults, fixed)

    def replica_spec(self, number: int, port: int) -> Spec:
        """Replica `number` of inference."""
        name = f"{INFERENCE}-{number}"
        endpoint = gateway.Endpoint(
            name, self.state.run / f"{name}.hot.sock", self.state.run / f"{name}.grpc.sock"
        )
        fixed = {
            "HEADRACE_INFERENCE_LISTEN": f"{HOST}:{port}",
            "HEADRACE_INFERENCE_METRICS_LISTEN": f"{HOST}:{port + 1}",
            "HEADRACE_INFERENCE_HOT_SOCKET": str(endpoint.hot_socket),
            "HEADRACE_INFERENCE_GRPC_SOCKET": str(endpoint.grpc_socket),
            "HEADRACE_INFERENCE_REPOSITORY": str(self.repository),
            "HEADRACE_INFERENCE_REPLICA": name,
            "HEADRACE_INFERENCE_JWKS": str(self.state.jwks),
            # Insight passes them on: whoever gets the gateway's spans gets these, and the other way round.
            "HEADRACE_TELEMETRY_OTLP": (
                f"unix:{self.state.insight_socket}" if self.config.telemetry.otlp_endpoint else ""
            ),
        }
        return self._service(name, INFERENCE, port, self._inference_defaults(), fixed, endpoint)

    def _inference_defaults(self) -> dict[str, str]:
        section = self.config.inference
        values = {
            "HEADRACE_INFERENCE_MAX_MESSAGE_BYTES": str(self.config.gateway.limits.max_message_bytes),
            "HEADRACE_INFERENCE_DRAIN_GRACE_S": str(section.drain_grace_s),
            "HEADRACE_INFERENCE_MODELS": msgspec.json.encode(section.models).decode(),
        }
        if section.instances is not msgspec.UNSET:
            values["HEADRACE_INFERENCE_INSTANCES"] = str(section.instances)
        return values

    def _service(
        self,
        name: str,
        service: str,
        port: int,
        defaults: Mapping[str, str],
        fixed: Mapping[str, str],
        endpoint: gateway.Endpoint | None = None,
    ) -> Spec:
        ratio = {"HEADRACE_TELEMETRY_SAMPLE_RATIO": str(self.config.telemetry.sample_ratio)}
        return Spec(
            name,
            service,
            (self.python, "-m", f"headrace.{service}"),
            {**ratio, **defaults, **self.environ, **fixed},
            f"{HOST}:{port}",
            (port, port + 1),
            self.state.log(name),
            endpoint,
        )
