FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[flower]'

FROM python:3.12-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'turgor[flower]'
RUN useradd --create-home turgor
USER turgor
WORKDIR /home/turgor
CMD ["turgor", "--help"]
