# A machine with systemd, Redis, and one node that is installed as deploy/systemd/mcp-server.service says in its head.
FROM debian:bookworm-slim
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends systemd redis-server >/dev/null \
    && rm -rf /var/lib/apt/lists
COPY --from=anynode/mcp-server:latest /mcp-server /usr/local/bin/mcp-server
COPY env.example /etc/mcp-server/env
COPY mcp-server.service mcp-server.socket /etc/systemd/system/
RUN chmod 600 /etc/mcp-server/env && systemctl enable redis-server
STOPSIGNAL SIGRTMIN+3
CMD ["/lib/systemd/systemd"]
