# The bridge as an image. docker-compose.yml builds it and says how it is run; alone: docker build -t agi-bridge .
#
# Behind a proxy that inspects TLS, hand in the authorities that pip is to believe; elsewhere leave the secret out:
#   docker build --secret id=ca_bundle,src=/etc/ssl/certs/ca-certificates.crt -t agi-bridge .

# The version is stated in agi_bridge/__init__.py. A label cannot read a file, so it is said here again, and compared below.
ARG VERSION=0.1.0

FROM python:3.13-slim-trixie AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

# Whatever comes from outside is fetched here and nowhere else, and each file is checked against its hash.
COPY requirements/runtime.txt requirements/
RUN --mount=type=secret,id=ca_bundle,required=false \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    pip wheel --quiet --require-hashes --requirement requirements/runtime.txt --wheel-dir /wheels

COPY pyproject.toml README.md LICENSE ./
COPY agi_bridge agi_bridge
COPY asterisk-conf asterisk-conf
# The tools that build the package stay behind in an environment of their own.
RUN python -m venv /build \
 && /build/bin/pip install --quiet --no-index --find-links /wheels hatchling \
 && /build/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

# Where a number is at home, in which time zone and with which carrier: 40 MB that nobody here asks for.
RUN python -m venv --without-pip /opt/agi-bridge \
 && pip --python /opt/agi-bridge/bin/python install --quiet --no-index --find-links /wheels agi_bridge \
 && cd /opt/agi-bridge/lib/python3.13/site-packages/phonenumbers \
 && rm -r geodata carrierdata tzdata

ARG VERSION
RUN said=$(/opt/agi-bridge/bin/agi-bridge --version) \
 && [ "$said" = "agi-bridge $VERSION" ] \
 || { echo "ARG VERSION=$VERSION in this Dockerfile, but the package says: $said" >&2; exit 1; }


FROM python:3.13-slim-trixie
ARG VERSION
LABEL org.opencontainers.image.title="agi-bridge" \
      org.opencontainers.image.description="Answers FastAGI calls from Asterisk and sends each one to its Millis voice agent" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="python:3.13-slim-trixie"

# A number, because whoever mounts files must be able to say whose they are; this one is the port of FastAGI.
RUN groupadd --gid 4573 agi-bridge \
 && useradd --uid 4573 --gid 4573 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin agi-bridge \
 && install --directory --owner=4573 --group=4573 --mode=700 /var/lib/agi-bridge
COPY --from=build /opt/agi-bridge /opt/agi-bridge
# Everything is compiled already, and nothing is ever written but records of calls, into /var/lib/agi-bridge: with a volume there,
# the root file system may be read-only.
ENV PATH=/opt/agi-bridge/bin:$PATH PYTHONDONTWRITEBYTECODE=1 AGI_BRIDGE_CONFIG=/etc/agi-bridge/bridge.toml
USER 4573:4573
# FastAGI, and the web port. Neither has a password: keep both on this machine.
EXPOSE 4573 4574
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["agi-bridge", "health"]
ENTRYPOINT ["agi-bridge"]
CMD ["serve"]
