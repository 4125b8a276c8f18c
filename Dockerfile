FROM python:3.11-slim

RUN useradd --system --uid 10001 --home-dir /data --create-home resop
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=3000 DATA_DIR=/data

# The dependencies first, in a layer that changes only with them.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = project['optional-dependencies']; \
print(*project['dependencies'], *extras['server'], *extras['mariadb'], *extras['oidc'], sep='\n')" \
        > /tmp/dependencies \
    && pip install --constraint constraints.txt setuptools --requirement /tmp/dependencies \
    && rm /tmp/dependencies

# The only copy of the source is in /app, which no process of the service may change.
COPY . .
RUN pip install --no-deps --no-build-isolation --editable .

USER resop
VOLUME /data
EXPOSE 3000
ENTRYPOINT ["resop"]
